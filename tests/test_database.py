import numpy as np
import pytest

from satclip_index.database import Answer, open_database, read_table, table_columns
from satclip_index.errors import QueryError, TableError


@pytest.fixture
def connection():
    with open_database() as opened:
        yield opened


def rows(connection, query, *parameters):
    return list(Answer(connection, query, parameters).rows())


def test_parameters_are_bound(connection):
    text = "'; DROP VIEW cells; --"
    assert rows(connection, "SELECT $1 AS a, $2 + 1 AS b", text, 2) == [{"a": text, "b": 3}]
    assert rows(connection, "SELECT ? AS a", 5) == [{"a": 5}]


def test_the_last_of_several_statements_is_the_answer(connection):
    assert rows(connection, "SET threads = 1; SELECT 7 AS seven") == [{"seven": 7}]


def test_a_statement_without_rows_gives_none(connection):
    assert rows(connection, "SET threads = 1") == []
    assert rows(connection, "CREATE TEMP TABLE t AS SELECT 1 AS x") in ([], [{"Count": 1}])
    assert rows(connection, "SELECT 1 AS x WHERE false") == []


def test_columns_of_one_name_are_all_kept(connection):
    assert rows(connection, "SELECT 1 AS a, 2 AS a, 3 AS a_1, 4 AS a") == [{"a": 1, "a_1": 2, "a_1_1": 3, "a_2": 4}]


@pytest.mark.parametrize(
    "query",
    [
        "SELEC 1",
        "SELECT * FROM nowhere",
        "SELECT * FROM 'missing.csv'",
        "SELECT nothing FROM range(1)",
        "SELECT CAST('x' AS INTEGER)",
        "SELECT CAST(CASE WHEN i > 50000 THEN 'x' ELSE '1' END AS INTEGER) AS n FROM range(100000) t(i)",
        "SELECT error('line one\nline two')",
        "SELECT array_inner_product([1]::INT[1], [1, 2])",
        "SELECT $1",
        "LOAD nothing_like_it",
        "SELECT 1; SELECT * FROM nowhere",
        "SELECT\n\n'unfinished",
        "DROP VIEW cells_",
    ],
)
def test_a_query_that_fails_is_one_line(connection, query):
    with pytest.raises(QueryError) as caught:
        list(Answer(connection, query).rows())
    assert "\n" not in str(caught.value)
    assert str(caught.value)
    with pytest.raises(QueryError) as caught:
        Answer(connection, query).to_arrow_reader().read_all()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("query", ["", "  \n", ";", "-- nothing", "/* nothing */ ;;"])
def test_an_empty_query_is_said_to_be_empty(connection, query):
    with pytest.raises(QueryError, match="The query is empty"):
        Answer(connection, query)


def test_missing_values_are_nan_or_none_and_names_may_hold_quotes(tmp_path):
    (tmp_path / 'a"b[1]*.csv').write_text('"he said ""x""",n,t,b\n1,,a,true\n2,5,,\n')
    path = tmp_path / 'a"b[1]*.csv'
    assert table_columns(path) == {'he said "x"': "BIGINT", "n": "BIGINT", "t": "VARCHAR", "b": "BOOLEAN"}
    read = read_table(path)
    assert read['he said "x"'].tolist() == [1, 2]
    np.testing.assert_array_equal(read["n"], [np.nan, 5.0])
    assert read["t"].tolist() == ["a", None]
    assert read["b"].tolist() == [True, None]
    assert list(read_table(path, ["t"])) == ["t"]
    np.testing.assert_array_equal(read_table(path, ["t"], numbers=["t"])["t"], [np.nan, np.nan])


def test_a_column_of_any_name_is_read(tmp_path):
    names = ["{}", "{table}", "order", "a.b", "it's"]
    (tmp_path / "t.csv").write_text(",".join(names) + "\n1,2,3,4,5\n")
    assert {name: values.tolist() for name, values in read_table(tmp_path / "t.csv").items()} == {
        name: [i + 1] for i, name in enumerate(names)
    }


def test_a_file_that_is_no_table_is_named(tmp_path):
    (tmp_path / "t.parquet").write_text("lon,lat\n")
    (tmp_path / "t.xls").write_text("lon,lat\n")
    with pytest.raises(TableError, match=r"t\.parquet could not be read as a table: "):
        table_columns(tmp_path / "t.parquet")
    with pytest.raises(TableError, match=r"t\.xls has an unsupported format; expected a name that ends in \.csv"):
        table_columns(tmp_path / "t.xls")
    with pytest.raises(TableError, match="No table at"):
        table_columns(tmp_path / "t.csv")


def test_a_long_query_draws_nothing_on_stdout(connection):
    assert connection.sql("SELECT current_setting('enable_progress_bar')").fetchall() == [(False,)]
