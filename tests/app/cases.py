"""States of the page, as hypothesis draws them."""

from hypothesis import strategies as st

from satclip_index.app._state import Example, State, View

PLACES = st.sampled_from(
    ["Nairobi", "São Paulo", "-70.5,-33.4", "36.8,-1.3", "84f29c3ffffffff", "Springfield, US", "'s-Gravenhage"]
)
WEIGHTS = st.sampled_from([1.0, 2.0, 0.5, 3.25])
EXAMPLES = st.lists(st.builds(Example, PLACES, WEIGHTS, st.booleans()), max_size=4).map(tuple)
KM = st.floats(0, 20_000, allow_nan=False)
TRIANGLE = '{"type":"Polygon","coordinates":[[[10.0,5.5],[20.0,5.5],[20.0,15.0],[10.0,5.5]]]}'


@st.composite
def states(draw, *, examples=EXAMPLES):
    table = draw(st.sampled_from(["", "my places.csv"]))
    return State(
        examples=draw(examples),
        k=draw(st.integers(1, 200)),
        res=draw(st.one_of(st.none(), st.integers(0, 15))),
        exclude_within_km=draw(KM),
        apart_km=draw(KM),
        min_similarity=draw(st.one_of(st.none(), st.floats(-1, 1))),
        ocean=draw(st.booleans()),
        within=draw(st.sampled_from(["", TRIANGLE])),
        table=table,
        where=draw(st.sampled_from(["", "population > 1e6 AND name <> 'O''Hara; -- &=%'"])) if table else "",
        view=View(draw(st.floats(-180, 180)), draw(st.floats(-90, 90)), draw(st.floats(0.01, 360))),
    )
