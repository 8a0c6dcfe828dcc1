import base64
import json
import logging
from concurrent.futures import Future

import pytest

from satclip_index.app._answer_cache import AnswerCache
from satclip_index.app._session import MOST_AREA_BYTES, Session

from .cases import TRIANGLE

CSV = b"name,lon,lat,population\nNairobi,36.8,-1.3,4000000\nLima,-77,-12,9000000\nCairo,31.2,30,20000000\n"


class Screen:
    """What a session showed."""

    def __init__(self):
        self.sent, self.picture, self.state, self.pins, self.waiting = [], "none yet", None, None, []

    def send(self, message):
        self.sent.append(json.loads(json.dumps(message)))

    def show_picture(self, picture):
        self.picture = picture

    def show_view(self, state):
        self.state = state

    def show_pins(self, answer, view, size):
        self.pins = answer

    def later(self, work):
        self.waiting.append(work)


class Pool:
    """Does what it is given when it is told to."""

    def __init__(self):
        self.queue = []

    def submit(self, work):
        self.queue.append(work)
        return Future()


class Visit:
    """A session with all that is round it."""

    def __init__(self, atlas):
        self.screen, self.pool, self.slow = Screen(), Pool(), Pool()
        self.session = Session(AnswerCache(atlas), self.pool, self.slow, self.screen)
        self.n = 0

    def send(self, do, **more):
        self.n += 1
        self.session.handle(json.dumps({"n": self.n, "do": do, **more}))

    def work(self):
        while self.pool.queue or self.slow.queue or self.screen.waiting:
            for queue in (self.pool.queue, self.slow.queue, self.screen.waiting):
                while queue:
                    queue.pop(0)()

    def ask(self, do, **more):
        """Send a message and return what was said, in the end, in answer."""
        self.send(do, **more)
        self.work()
        return self.screen.sent[-1]


@pytest.fixture
def visit(atlas):
    visit = Visit(atlas)
    visit.ask("hello", size=[400, 200], link="")
    yield visit
    visit.session.close()
    visit.work()


def test_a_new_page_shows_nothing_and_asks_nothing(visit):
    assert visit.screen.picture is None
    assert visit.screen.sent[-1]["answer"] is None
    assert visit.screen.sent[-1]["link"] == ""


def test_examples_are_added_weighed_and_removed(visit):
    said = visit.ask("add", place="36.8,-1.3")
    assert (said["kind"], said["n"], len(said["answer"]["rows"])) == ("state", 2, 10)
    assert said["link"] == "like=36.8%2C-1.3"
    assert said["answer"]["labels"] == ["36.80 E 1.30 S"]
    said = visit.ask("add", place="Cairo:2", unlike=True)
    assert said["examples"][1] == {"place": "Cairo", "weight": 2.0, "unlike": True}
    assert ", unlike Cairo, EG. Best: near " in said["answer"]["summary"]
    before = said["answer"]["rows"]
    said = visit.ask("weigh", i=1, weight="5")
    assert "--unlike Cairo:5" in said["command"]
    said = visit.ask("remove", i=1)
    assert len(said["examples"]) == 1
    assert said["answer"]["rows"] != before
    said = visit.ask("remove", i=0)
    assert said["answer"] is None
    assert visit.screen.picture is None


@pytest.mark.parametrize(
    ("name", "value"),
    [("k", "3"), ("exclude", "100"), ("apart", 0), ("min", "0.1"), ("min", None), ("res", "1"), ("ocean", True)],
)
def test_a_rule_is_set(visit, name, value):
    visit.ask("add", place="Lima")
    said = visit.ask("set", name=name, value=value)
    assert said["kind"] == "state"
    assert said["rules"][name] == (None if value is None else type(said["rules"][name])(float(value)))


@pytest.mark.parametrize(
    ("do", "more", "said"),
    [
        ("add", {"place": "Nairobbi"}, "Did you mean Nairobi"),
        ("add", {"place": "/etc/passwd"}, "No city"),
        ("add", {"place": "95,91"}, "not a place on Earth"),
        ("add", {"place": ""}, "empty"),
        ("set", {"name": "k", "value": "many"}, "k is 'many'; expected a number"),
        ("set", {"name": "exclude", "value": -5}, "exclude is -5"),
        ("set", {"name": "res", "value": 9}, "res 9"),
        ("weigh", {"i": 0, "weight": "-1"}, "weight of -1"),
        ("area", {"text": "{", "name": "x"}, "not readable GeoJSON"),
        ("area", {"text": '{"type": "Point", "coordinates": [1, 2]}'}, "polygons"),
        ("area", {"text": '{"type": "Polygon", "coordinates": [[[1, 2], ["a", 3]]]}'}, "not readable GeoJSON"),
        ("area", {"text": "x" * (MOST_AREA_BYTES + 1), "name": "big.geojson"}, "big.geojson is larger than 2 MB"),
        ("download", {"kind": "exe"}, "no results to download"),
        ("part", {"name": "x.exe", "i": 0, "of": 1, "data": ""}, "is not a supported table"),
    ],
)
def test_what_is_wrong_is_said_and_the_answer_stays(visit, do, more, said):
    good = visit.ask("add", place="Lima")
    wrong = visit.ask(do, **more)
    assert wrong["kind"] == "error"
    assert said in wrong["text"]
    again = visit.ask("set", name="k", value=10)
    assert again["link"] == good["link"]
    assert again["examples"] == good["examples"]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"do": "eval"}', '{"do": "weigh", "i": "x"}', '{"do": "part", "i": 0, "name": "a.csv"}']
)
def test_what_the_page_never_sends_gives_a_general_word_and_a_line_in_the_log(visit, text, caplog):
    with caplog.at_level(logging.ERROR):
        visit.session.handle(text)
    assert "Internal error" in visit.screen.sent[-1]["text"]
    assert "Traceback" not in visit.screen.sent[-1]["text"]
    assert caplog.records[-1].exc_info


def test_of_several_questions_only_the_last_is_answered(visit):
    visit.send("add", place="Lima")
    visit.send("add", place="Cairo")
    visit.send("set", name="k", value=3)
    first, second, third = visit.pool.queue
    visit.pool.queue.clear()
    first()
    second()
    visit.work()
    assert visit.screen.sent[-1]["n"] == 1
    third()
    visit.work()
    said = visit.screen.sent[-1]
    assert (said["n"], len(said["examples"]), len(said["answer"]["rows"])) == (4, 2, 3)


def test_an_answer_that_comes_late_does_not_replace_a_newer_one(visit):
    visit.send("add", place="Lima")
    visit.pool.queue.pop(0)()
    late = visit.screen.waiting.pop(0)
    visit.ask("add", place="Cairo")
    shown, said = visit.screen.pins, len(visit.screen.sent)
    late()
    assert visit.screen.pins is shown
    assert len(visit.screen.sent) == said


def test_after_two_wrong_places_the_right_one_is_taken(visit):
    visit.send("add", place="Nairobbi")
    visit.send("add", place="Kairrro")
    visit.work()
    said = visit.ask("add", place="Nairobi")
    assert [example["place"] for example in said["examples"]] == ["Nairobi"]


def test_moving_the_view_asks_no_new_question(visit):
    visit.ask("add", place="Lima")
    answer = visit.screen.pins
    said = visit.ask("view", at=[-77, -12, 20], size=[400, 200])
    assert visit.screen.pins.places is answer.places
    assert "answer" not in said
    assert said["link"].endswith("at=-77%2C-12%2C20")
    assert visit.screen.picture.canvas.bounds[0] > -100


def test_an_area_holds_every_answer(visit):
    visit.ask("add", place="Lima")
    said = visit.ask("area", text=TRIANGLE, name="")
    rows = [dict(zip(said["answer"]["columns"], row, strict=True)) for row in said["answer"]["rows"]]
    assert rows
    assert all(10 <= row["lon"] <= 20 and 5.5 <= row["lat"] <= 15 for row in rows)
    assert said["within"] == "drawn here"
    assert visit.ask("area", text="", name="")["within"] == ""


def test_a_table_is_loaded_in_parts_and_its_rows_are_the_candidates(visit):
    visit.ask("add", place="Lusaka")
    parts = [CSV[:40], CSV[40:]]
    for i, part in enumerate(parts):
        visit.send("part", name="my.csv", i=i, of=2, data=base64.b64encode(part).decode())
    visit.work()
    said = visit.screen.sent[-1]
    assert said["table"] == "my.csv"
    assert {"kind": "table", "name": "my.csv"}.items() <= visit.screen.sent[-2].items()
    at = said["answer"]["columns"].index("name")
    assert {row[at] for row in said["answer"]["rows"]} <= {"Nairobi", "Lima", "Cairo"}
    said = visit.ask("set", name="where", value="population > 10e6")
    assert [row[at] for row in said["answer"]["rows"]] == ["Cairo"]
    assert said["command"].endswith(
        "--table my.csv --where 'population > 10e6' --atlas " + str(visit.session._answers.atlas.path)
    )
    wrong = visit.ask("set", name="where", value="nothing = 1")
    assert wrong["kind"] == "error"
    said = visit.ask("drop table")
    assert (said["table"], said["rules"]["where"]) == ("", "")
    assert len(said["answer"]["rows"]) == 10


def test_a_table_of_the_same_name_replaces_the_first(visit):
    visit.ask("add", place="Tokyo")
    for names in (["Nairobi", "Lima"], ["Cairo"]):
        rows = b"\n".join(line for line in CSV.splitlines() if line.split(b",")[0].decode() in ["name", *names]) + b"\n"
        said = visit.ask("part", name="my.csv", i=0, of=1, data=base64.b64encode(rows).decode())
        at = said["answer"]["columns"].index("name")
        assert sorted(row[at] for row in said["answer"]["rows"]) == sorted(names)


def test_a_page_that_is_left_keeps_no_file(visit):
    visit.ask("part", name="my.csv", i=0, of=1, data=base64.b64encode(CSV).decode())
    folder = visit.session._loader.table.rows_where("").parent
    visit.send("part", name="more.csv", i=0, of=2, data=base64.b64encode(CSV).decode())
    partial = visit.session._loader._upload.path.parent
    assert folder.exists()
    assert partial.exists()
    visit.session.close()
    visit.work()
    assert not folder.exists()
    assert not partial.exists()


def test_a_link_is_opened_as_it_was_left(visit, atlas):
    visit.ask("add", place="Lima")
    visit.ask("set", name="exclude", value=900)
    left = visit.ask("view", at=[10, 20, 90], size=[400, 200])
    other = Visit(atlas)
    opened = other.ask("hello", size=[400, 200], link="?" + left["link"])
    for name in ("examples", "rules", "view", "link", "command"):
        assert opened[name] == left[name]


@pytest.mark.parametrize("link", ["?k=0", "?like=Lima&within={", "?like=Lima&within=[]", "?at=1", "?" + "k=1&" * 300])
def test_a_link_that_is_wrong_opens_an_empty_page_and_says_why(atlas, link):
    visit = Visit(atlas)
    visit.ask("hello", size=[400, 200], link=link)
    assert "The link is invalid" in visit.screen.sent[0]["text"]
    assert visit.screen.sent[-1]["kind"] == "state"


def test_a_link_that_cannot_be_answered_opens_an_empty_page_and_says_why(atlas):
    visit = Visit(atlas)
    said = visit.ask("hello", size=[400, 200], link="?like=Nairobbi&at=1,2,30")
    assert (said["kind"], said["n"]) == ("error", 1)
    assert "Did you mean Nairobi" in said["text"]
    state = visit.screen.sent[-2]
    assert (state["kind"], state["n"], state["answer"], state["view"]) == ("state", 1, None, [1, 2, 30])
    assert visit.ask("add", place="Lima")["kind"] == "state"


def test_an_area_without_an_example_is_drawn_and_one_that_is_none_is_not_kept(visit):
    assert visit.ask("area", text=TRIANGLE, name="")["within"] == "drawn here"
    wrong = visit.ask("area", text='{"type": "Point", "coordinates": [1, 2]}', name="x")
    assert "must consist of polygons" in wrong["text"]
    assert visit.ask("add", place="Lima")["within"] == "drawn here"


def test_a_link_with_a_table_asks_for_the_file(atlas):
    visit = Visit(atlas)
    said = visit.ask("hello", size=[400, 200], link="?like=Lima&table=my.csv&where=a")
    assert "load that file" in visit.screen.sent[0]["text"]
    assert said["kind"] == "state"
    assert said["table"] == ""


def test_downloads_hold_the_places_that_are_shown(visit):
    said = visit.ask("add", place="Lima")
    cells = [row[said["answer"]["columns"].index("cell")] for row in said["answer"]["rows"]]
    file = visit.ask("download", kind="geojson")
    collection = json.loads(file["text"])
    assert [feature["properties"]["cell"] for feature in collection["features"]] == cells
    assert collection["query"]["exclude_within_km"] == 2000
    file = visit.ask("download", kind="csv")
    assert [line.split(",")[1] for line in file["text"].splitlines()[1:]] == cells
    assert file["name"] == "like.csv"


def test_hovering_says_what_lies_there(visit):
    visit.ask("add", place="Lima")
    said = visit.ask("at", lon=10, lat=20)
    assert (said["kind"], said["lon"], said["lat"]) == ("at", 10, 20)
    assert -1 <= said["similarity"] <= 1
    assert 0 <= said["percentile"] <= 100


def test_an_answer_that_cannot_be_shown_gives_a_general_word_and_a_line_in_the_log(visit, monkeypatch, caplog):
    monkeypatch.setattr(visit.screen, "show_pins", lambda *_: 1 / 0)
    said = visit.ask("add", place="Lima")
    assert (said["kind"], said["n"]) == ("error", visit.n)
    assert "Internal error" in said["text"]
    assert "ZeroDivisionError" in caplog.text


def test_a_table_is_not_removed_while_a_question_of_it_waits(visit):
    visit.ask("add", place="Tokyo")
    visit.ask("part", name="my.csv", i=0, of=1, data=base64.b64encode(CSV).decode())
    folder = visit.session._loader.table.rows_where("").parent
    visit.send("set", name="where", value="population > 5e6")
    visit.send("drop table")
    assert folder.exists()
    visit.work()
    assert not folder.exists()
    assert visit.screen.sent[-1]["table"] == ""


def test_too_few_answers_are_explained(visit):
    visit.ask("add", place="Lima")
    said = visit.ask("set", name="exclude", value=19_000)
    assert any("places. Lower the distances" in note for note in said["answer"]["notes"])
