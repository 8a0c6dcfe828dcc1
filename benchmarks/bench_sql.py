"""SQL at table scale: joining points onto an atlas, looking a cell up, and places_like for every row of a table.

Takes the folder of an atlas (by default ./atlas, as `make demo` leaves it) and works at its finest resolution. The
plain way of joining is what a notebook does without us: h3-py in a loop, and a join in DuckDB on the atlas's own
Parquet files. Both joins are processes of their own, from a Parquet file of points to a Parquet file of points with
embeddings; their answers are compared.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import h3
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from common import describe_machine, interleaved_seconds, measured_process
from satclip_index import Atlas, connect, open_atlas

COMMAND = Path(sys.executable).with_name("satclip-index")
RULES = "k := 10, res := {res}, exclude_within_km := 0, apart_km := 0, ocean := true"
NEAREST_ROWS = 100  # DuckDB compares every pair: ten thousand rows would take an hour


def random_points(n: int, seed: int) -> pa.Table:
    """Return points that are even on the sphere."""
    rng = np.random.default_rng(seed)
    lat = np.degrees(np.arcsin(rng.uniform(-1, 1, n)))
    return pa.table({"id": np.arange(n), "lon": rng.uniform(-180, 180, n), "lat": lat})


def seconds(work: Callable[[], object], rounds: int) -> float:
    """Return the median seconds of a work, after a first time that does not count."""
    work()
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def run(*arguments: object) -> None:
    """Run a process to its end."""
    subprocess.run([str(argument) for argument in arguments], check=True, stderr=subprocess.DEVNULL)


def join_plainly(points: Path, files: str, out: Path, res: int) -> None:
    """Join as a notebook would: h3-py in a loop, then DuckDB on the Parquet files."""
    rows = pq.read_table(points)
    lon, lat = rows["lon"].to_pylist(), rows["lat"].to_pylist()
    cells = [h3.str_to_int(h3.latlng_to_cell(y, x, res)) for x, y in zip(lon, lat, strict=True)]
    with duckdb.connect() as connection:
        connection.execute("SET enable_progress_bar = false")
        connection.register("points", rows.append_column("cell", pa.array(cells, pa.uint64())))
        joined = f"SELECT t.*, c.embedding FROM points t JOIN read_parquet('{files}') c USING (cell)"
        connection.execute(f"COPY ({joined}) TO '{out}'")


def bench_join(atlas: Atlas, rows: int, rounds: int) -> None:
    """Print how long both ways of joining take, in one session and as processes, and whether they agree."""
    res = atlas.resolutions[-1]
    with tempfile.TemporaryDirectory(dir=".") as temporary:
        folder = Path(temporary)
        points, ours, plain = folder / "points.parquet", folder / "ours.parquet", folder / "plain.parquet"
        pq.write_table(random_points(rows, 0), points)
        files = str(atlas.path / f"res={res}" / "cells" / "*.parquet")
        session = interleaved_seconds(
            lambda: atlas.join(points, geometry="none").write(ours),
            lambda: join_plainly(points, files, plain, res),
            rounds=rounds,
        )
        plainly = f"""import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); from pathlib import Path
from bench_sql import join_plainly; join_plainly(Path({str(points)!r}), {files!r}, Path({str(plain)!r}), {res})"""
        asked = (COMMAND, "join", points, "-o", ours, "--atlas", atlas.path, "--geometry", "none", "--quiet")
        process = interleaved_seconds(lambda: run(*asked), lambda: run(sys.executable, "-c", plainly), rounds=rounds)
        query = (
            f"SELECT id, cell, list_sum(embedding) AS s FROM '{{}}' WHERE id % {max(1, rows // 1000)} = 0 ORDER BY id"
        )
        answers = [duckdb.sql(query.format(file)).fetchnumpy() for file in (ours, plain)]
        same = all(np.array_equal(answers[0][name], answers[1][name]) for name in ("id", "cell"))
        same &= bool(np.allclose(answers[0]["s"], answers[1]["s"], atol=1e-5))
        sizes = [file.stat().st_size for file in (ours, plain)]
    print(f"| joining {rows:,} points onto res {res}, file to file | s | rows/s | MB written | ratio |")
    print("| --- | --- | --- | --- | --- |")
    called = (
        "Atlas.join, in a session",
        "h3-py in a loop, DuckDB's join",
        "satclip-index join",
        "the same, as a script",
    )
    for name, taken, size, (_, slower) in zip(
        called, [*session, *process], sizes * 2, [session] * 2 + [process] * 2, strict=True
    ):
        print(f"| {name} | {taken:.2f} | {rows / taken:,.0f} | {size / 1e6:,.0f} | {slower / taken:.1f}x |")
    print(f"\nThe answers {'agree' if same else 'DO NOT AGREE'}.\n")


def bench_stream(atlas: Atlas, rows: int) -> None:
    """Print how long a join of many rows takes, and its memory."""
    print(f"| joining {rows:,} points onto res {atlas.resolutions[-1]} | s | rows/s | peak RSS, GB |")
    print("| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory(dir=".") as temporary:
        for suffix in ("parquet", "csv"):
            points, out = Path(temporary) / f"points.{suffix}", Path(temporary) / "out.parquet"
            with duckdb.connect() as connection:
                connection.register("made", random_points(rows, 3))
                connection.execute(f"COPY made TO '{points}'")
            taken, _, memory = measured_process(
                "join", points, "-o", out, "--atlas", atlas.path, "--components", 16, "--quiet"
            )
            print(f"| {suffix}, 16 components | {taken:.1f} | {rows / taken:,.0f} | {memory:.2f} |")
    print()


def bench_lookup(atlas: Atlas, rounds: int) -> None:
    """Print how long it takes to look one cell up, of cells anywhere."""
    index = atlas.index()
    cells = index.cells[np.random.default_rng(1).integers(0, len(index), rounds + 1)].tolist()
    print("| looking one cell up | median, ms | slowest, ms |\n| --- | --- | --- |")
    with connect(atlas) as connection:
        for called, query in (
            ("SELECT * FROM cells WHERE cell = ?", "SELECT * FROM cells WHERE cell = ?"),
            ("SELECT satclip_embedding(?)", "SELECT satclip_embedding(?)"),
        ):
            taken = []
            for cell in cells:
                start = time.perf_counter()
                connection.execute(query, [cell]).fetchall()
                taken.append((time.perf_counter() - start) * 1e3)
            print(f"| `{called}` | {statistics.median(taken[1:]):.1f} | {max(taken[1:]):.1f} |")
    print()


def bench_lateral(atlas: Atlas, rows: int) -> None:
    """Print how many rows of a table a second are answered with their ten most similar cells."""
    res = atlas.resolutions[-1]
    with connect(atlas) as connection:
        connection.register("points", random_points(rows, 2))
        connection.execute("CREATE TABLE asked AS SELECT *, satclip_embedding(satclip_cell(lon, lat)) AS e FROM points")
        connection.execute(f"CREATE TABLE base AS SELECT cell, embedding FROM cells WHERE res = {res}")
        rules = RULES.format(res=res)
        ours = f"SELECT id, p.cell, p.similarity FROM asked, LATERAL places_like(lon, lat, {rules}) p"
        nearest = f"""SELECT id, cell, array_inner_product(e, embedding) AS similarity
            FROM (FROM asked WHERE id < {NEAREST_ROWS}) asked
            JOIN base NEAREST 10 BY SIMILARITY array_inner_product(asked.e, base.embedding)"""
        default = f"SELECT id, p.cell FROM asked, LATERAL places_like(lon, lat, res := {res}) p"
        taken = {
            "places_like, plain": (rows, seconds(lambda: connection.sql(ours).to_arrow_table(), 3)),
            "places_like, as it is by default": (rows, seconds(lambda: connection.sql(default).to_arrow_table(), 3)),
        }
        start = time.perf_counter()
        theirs = connection.sql(f"SELECT * FROM ({nearest}) ORDER BY id, similarity DESC").to_arrow_table()
        taken["DuckDB's NEAREST BY"] = NEAREST_ROWS, time.perf_counter() - start
        mine = connection.sql(
            f"SELECT * FROM ({ours}) WHERE id < {NEAREST_ROWS} ORDER BY id, similarity DESC"
        ).to_arrow_table()
    apart = np.abs(mine["similarity"].to_numpy() - theirs["similarity"].to_numpy()).max()
    slowest = taken["DuckDB's NEAREST BY"][1] / NEAREST_ROWS
    print(f"| ten most similar of {len(atlas.index()):,} cells | rows | s | rows/s | ratio, a row |")
    print("| --- | --- | --- | --- | --- |")
    for called, (n, elapsed_s) in taken.items():
        print(f"| {called} | {n:,} | {elapsed_s:.2f} | {n / elapsed_s:,.1f} | {slowest / (elapsed_s / n):,.0f}x |")
    print(f"\nSimilarities of the {NEAREST_ROWS} rows that both answered differ by at most {apart:.1e}.")


def main() -> None:
    """Print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("atlas", nargs="?", default="atlas")
    parser.add_argument("--points", type=int, default=1_000_000, help="rows to join")
    parser.add_argument("--streamed", type=int, default=10_000_000, help="rows to join in bounded memory")
    parser.add_argument("--rows", type=int, default=10_000, help="rows to answer with places_like")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["join", "stream", "lookup", "lateral"])
    options = parser.parse_args()
    atlas = open_atlas(options.atlas)
    print(describe_machine() + "\n")
    if options.only in (None, "join"):
        bench_join(atlas, options.points, options.rounds)
    if options.only in (None, "stream"):
        bench_stream(atlas, options.streamed)
    if options.only in (None, "lookup"):
        bench_lookup(atlas, 100)
    if options.only in (None, "lateral"):
        bench_lateral(atlas, options.rows)


if __name__ == "__main__":
    main()
