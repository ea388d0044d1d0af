"""Rating prediction: the ratings that come with it, a person's own, what is fitted, learnt, predicted and shown."""

import datetime
import json

import numpy as np
import pytest
from conftest import make_engine, small, steps
from helpers import final_weights, load_data

from {{cookiecutter.package_name}} import load_config
from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine import workflow
from {{cookiecutter.package_name}}.engine.data.bad import Bad
from {{cookiecutter.package_name}}.engine.data.tables import Format
from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.engine.folder import read_result
from {{cookiecutter.package_name}}.tasks.rating_prediction import data, describe, embeddings, examples, inputs
from {{cookiecutter.package_name}}.tasks.rating_prediction.times import read_date

NAME = "rating_prediction"
SMALL = small(NAME)


def everything(source):
    return source[np.arange(len(source))]


def refused(call, *args, **options):
    """The one line of an InputError."""
    with pytest.raises(InputError) as caught:
        call(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Generated ratings.


@pytest.fixture(scope="module")
def generated():
    """(config of the default, ratings, what they are without noise)."""
    config = load_config(NAME).data
    return config, *data.generate(config)


def test_generated_ratings_are_as_many_pairs_as_are_asked_for(generated):
    config, ratings, _ = generated
    assert len(ratings) == config.ratings == len(set(zip(ratings.user.tolist(), ratings.item.tolist(), strict=True)))
    assert ratings.user.max() < config.users and ratings.item.max() < config.items


def test_more_pairs_than_there_may_be_are_one_line():
    line = refused(load_data, load_config(NAME, [*SMALL, "--data.ratings=751"]))
    assert "data.ratings = 751" in line and "data.users = 60" in line


@pytest.mark.slow
def test_the_default_is_within_5_percent_of_the_least_rmse(project, framework):
    folder = workflow.train(load_config(NAME, ["--framework", framework, "--accelerator=cpu"]))
    assert read_result(folder)["metrics"]["test/rmse"] < 1.05 * 0.5007


# A table of one's own.


def write(path, *rows, header="user,item,rating"):
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


def own(root, *options):
    return load_config(f"{NAME}/csv", [f"--data.root={root}", *options])


ROWS = [f"{user},{item},{1 + (7 * i + 3 * k) % 5}" for i, user in enumerate("ABCDE") for k, item in enumerate("vwxyz")]


@pytest.fixture
def table(tmp_path):
    """The folder that holds `ratings.csv`."""
    write(tmp_path / "ratings.csv", *ROWS)
    return tmp_path


def test_users_and_items_are_any_text(tmp_path):
    names = ["Zoë", "a, b", "  7 ", "007"]
    rows = [f'"{user}",item of {user[:1]},{k}.5' for user in names for k in range(10)]
    write(tmp_path / "ratings.csv", *rows)
    found = load_data(own(tmp_path))
    assert sorted(json.loads(found.spec["users.json"])) == ["007", "7", "Zoë", "a, b"]
    assert set(everything(found.test)["rating"]) <= {k + 0.5 for k in range(10)}


def test_columns_have_any_names_and_order(tmp_path):
    rows = [f"{row.split(',')[2]},x,{row.split(',')[1]},{row.split(',')[0]}" for row in ROWS]
    write(tmp_path / "mine.csv", *rows, header="stars,note,film,who")
    columns = ["--data.user=who", "--data.item=film", "--data.rating=stars"]
    found = load_data(own(tmp_path, "--data.path=mine.csv", *columns))
    write(tmp_path / "ratings.csv", *ROWS)
    expected = load_data(own(tmp_path))
    assert found.spec["users.json"] == expected.spec["users.json"]
    assert np.array_equal(everything(found.train)["rating"], everything(expected.train)["rating"])


def test_codes_with_and_without_point_zero_are_one(tmp_path):
    """As pandas writes a column of whole numbers that has gaps."""
    write(tmp_path / "ratings.csv", *(f"{u}{'.0' * (i % 2)},{i}.0,{1 + i % 5}" for u in (5, 6) for i in range(15)))
    found = load_data(own(tmp_path))
    assert sorted(json.loads(found.spec["users.json"])) == ["5", "6"]
    assert set(json.loads(found.spec["items.json"])["item"]) <= set(map(str, range(15)))


def test_a_table_may_be_written_as_in_germany(tmp_path):
    rows = [row.replace(",", ";") for row in ROWS]
    write(tmp_path / "ratings.csv", *(f"{row},5" for row in rows), header="user;item;rating")
    found = load_data(own(tmp_path, "--data.delimiter=;", "--data.decimal=,"))
    everyone = np.concatenate([everything(part)["rating"] for part in (found.train, found.val, found.test)])
    assert sorted(everyone) == sorted(float(row.split(",")[2]) + 0.5 for row in ROWS)


def test_another_delimiter_is_seen(tmp_path):
    write(tmp_path / "ratings.csv", *(row.replace(",", ";") for row in ROWS), header="user;item;rating")
    assert refused(load_data, own(tmp_path)).endswith("in it: --data.delimiter ';'")


@pytest.mark.parametrize("cell", ["1_000", "\uff15", "0x10", "inf", "1e400"])
def test_a_rating_is_a_number_to_everyone(tmp_path, cell):
    write(tmp_path / "ratings.csv", *ROWS, f"A,v,{cell}")
    assert f"row 27, column rating: {cell!r} is no number" in refused(load_data, own(tmp_path))


def test_a_word_that_stands_for_no_value_is_no_rating_and_no_user(tmp_path):
    write(tmp_path / "ratings.csv", *ROWS, "A,v,-1")
    assert "row 27, column rating: '-1' is no number" in refused(load_data, own(tmp_path, "--data.missing=-1"))
    write(tmp_path / "ratings.csv", *ROWS, "NA,v,1")
    assert "row 27, column user: no value" in refused(load_data, own(tmp_path, "--data.missing=NA"))


def test_two_columns_of_one_name_are_one_line(tmp_path):
    write(tmp_path / "ratings.csv", *(f"{row},1" for row in ROWS), header="user,item,rating,rating")
    assert "has 2 columns 'rating'" in refused(load_data, own(tmp_path))


def test_one_column_for_two_things_is_one_line(complaint, framework, table):
    line = complaint("train", f"{NAME}/csv", "--framework", framework, f"--data.root={table}", "--data.item=user")
    assert "data.user = 'user', data.item = 'user'" in line


def test_ratings_that_are_all_the_same_are_one_line(tmp_path):
    write(tmp_path / "ratings.csv", *(f"{row[:-1]}3" for row in ROWS))
    assert "ratings.csv: rating is 3 in every training row: there is nothing to learn" in refused(
        load_data, own(tmp_path)
    )


@pytest.mark.parametrize("split", ["random", "time"])
def test_a_file_of_its_own_may_be_the_test(tmp_path, split):
    """Whose users and items may be new, and which needs no times."""
    write(tmp_path / "ratings.csv", *(f"{row},{i}" for i, row in enumerate(ROWS)), header="user,item,rating,time")
    write(tmp_path / "new.csv", "A,v,2", "new,w,4", "B.0,new,1")
    options = [f"--data.split={split}", "--data.time=time", "--data.test_path=new.csv"]
    found = load_data(own(tmp_path, *options))
    test = everything(found.test)
    assert (len(found.train) + len(found.val), test["rating"].tolist()) == (25, [2, 4, 1])
    users = [*json.loads(found.spec["users.json"]), "unknown"]
    assert [users[number] for number in test["user"]] == ["A", "unknown", "unknown"]
    if split == "time":
        late = sorted(float(row.split(",")[2]) for row in ROWS[-len(found.val) :])
        assert sorted(everything(found.val)["rating"]) == late


TITLES = ["v,One", "w,Two", "x,Three", "y,Four", "z,Five"]


def test_titles_of_which_none_belongs_to_an_item_are_one_line_with_both_files(table):
    write(table / "titles.csv", *(f"tt{row}" for row in TITLES), header="item,title")
    line = refused(load_data, own(table, "--data.titles=titles.csv"))
    assert str(table / "titles.csv") in line and str(table / "ratings.csv") in line and "'ttv'" in line


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (TITLES, ""),
        (TITLES[:3], "0 of its 3 items have no ratings in {}, and 2 of the 5 there no title"),
        ([*TITLES, "a,A"], "1 of its 6 items have no ratings in {}, and 0 of the 5 there no title"),
    ],
)
def test_titles_that_fit_nothing_are_counted(table, capsys, rows, told):
    write(table / "titles.csv", *rows, header="item,title")
    load_data(own(table, "--data.titles=titles.csv"))
    expected = f"{table / 'titles.csv'}: {told.format(table / 'ratings.csv')}\n" if told else ""
    assert capsys.readouterr().err == expected


def test_titles_are_found_by_code(tmp_path):
    write(tmp_path / "ratings.csv", *(f"{u},{i},{1 + (u + i) % 5}" for u in range(5) for i in range(6)))
    write(tmp_path / "titles.csv", *(f"{i}.0,Film {i}" for i in range(6)), header="item,title")
    found = json.loads(load_data(own(tmp_path, "--data.titles=titles.csv")).spec["items.json"])
    assert found["title"] == [f"Film {item}" for item in found["item"]]


def test_an_item_with_two_titles_is_one_line(table):
    write(table / "titles.csv", *TITLES, "v,Other", header="item,title")
    assert "titles.csv, row 7, column item: 'v' has another title" in refused(
        load_data, own(table, "--data.titles=titles.csv")
    )


BROKEN = {
    "a missing rating": (["A,v,"], "row 2, column rating: no value"),
    "a missing user": (["A,v,1", " ,v,1"], "row 3, column user: no value"),
    "text for a number": (["A,v,1", "", "A,w,good"], "row 4, column rating: 'good' is no number"),
    "a number that is none": (["A,v,nan"], "row 2, column rating: 'nan' is no number"),
    "a short row": (["A,v"], "row 2: 2 columns, expected 3"),
    "no rows": ([], "has no rows"),
    "too few rows": (["A,v,1"] * 3, "make 0 for validation"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_table_is_one_line(tmp_path, case):
    rows, part = BROKEN[case]
    write(tmp_path / "ratings.csv", *rows)
    assert part in refused(load_data, own(tmp_path))


@pytest.mark.parametrize(
    ("content", "part"), [(b"", "is empty"), (b"user,item,rating\nA,\xff,1\n", "row 2: byte 0xff")]
)
def test_a_file_that_is_no_table_is_one_line(tmp_path, content, part):
    (tmp_path / "ratings.csv").write_bytes(content)
    line = refused(load_data, own(tmp_path))
    assert str(tmp_path / "ratings.csv") in line and part in line


def test_a_file_that_is_missing_names_the_option(tmp_path):
    line = refused(load_data, own(tmp_path, "--data.path=mine.csv"))
    assert line == f"data.path = 'mine.csv': there is neither mine.csv nor {tmp_path / 'mine.csv'}"


def test_a_column_that_is_missing_is_told_with_the_nearest(table):
    assert "no column 'rating_': did you mean 'rating'?" in refused(load_data, own(table, "--data.rating=rating_"))


NOON = datetime.datetime(2026, 1, 31, 12, 0, tzinfo=datetime.UTC).timestamp()


@pytest.mark.parametrize(
    ("cell", "kind", "value"),
    [
        ("2026-01-31", "a date", NOON - 12 * 3600),
        ("2026-01-31 12:00", "a date", NOON),
        ("2026-01-31T12:00:00", "a date", NOON),
        ("2026-01-31 12:00:00.5", "a date", NOON + 0.5),
        ("2026-01-31T12:00Z", "a date with a time zone", NOON),
        ("2026-01-31 13:00+01:00", "a date with a time zone", NOON),
        ("2026-01-31 13:00:00+0100", "a date with a time zone", NOON),
        ("1769860800", "a number", 1769860800),
    ],
)
def test_a_time_is_a_number_or_a_date(cell, kind, value):
    assert read_date(cell, Format()) == (kind, value)


@pytest.mark.parametrize(
    "cell", ["", "soon", "2026-02-31", "31.01.2026", "01/31/2026", "20260131T1200", "2026-W05-6", "\uff12026-01-31"]
)
def test_what_is_no_date_is_none(cell):
    kind, value = read_date(cell, Format())
    assert kind != "a date" and (kind == "" or value == float(cell))


@pytest.mark.parametrize("form", ["{}", "2026-01-{:02}", "2026-01-01 10:{:02}", "2026-01-01T10:{:02}:00Z"])
def test_a_split_by_time_keeps_the_latest(tmp_path, form):
    rng = np.random.default_rng(0)
    write(
        tmp_path / "ratings.csv",
        *(f"A,v,{k},{form.format(k)}" for k in 1 + rng.permutation(20)),
        header="user,item,rating,time",
    )
    found = load_data(own(tmp_path, "--data.split=time", "--data.time=time"))
    assert [sorted(everything(part)["rating"]) for part in (found.val, found.test)] == [[17, 18], [19, 20]]


@pytest.mark.parametrize(
    ("first", "other", "told"),
    [
        ("2026-01-31", "1769860800", "'1769860800' is a number, but '2026-01-31' in the first row a date"),
        ("5", "2026-01-31", "'2026-01-31' is a date, but '5' in the first row a number"),
        (
            "2026-01-31 10:00",
            "2026-01-31 10:00Z",
            "'2026-01-31 10:00Z' is a date with a time zone, but '2026-01-31 10:00' in the first row a date",
        ),
    ],
)
def test_times_of_two_kinds_are_refused_by_row(tmp_path, first, other, told):
    rows = [f"A,v,1,{first}", f"A,w,2,{first}", f"A,x,3,{other}"]
    write(tmp_path / "ratings.csv", *rows, header="user,item,rating,when")
    line = refused(load_data, own(tmp_path, "--data.split=time", "--data.time=when"))
    assert f"row 4, column when: {told}" in line


def test_a_time_that_is_none_is_one_line(tmp_path):
    write(tmp_path / "ratings.csv", "A,v,1,yesterday", header="user,item,rating,time")
    line = refused(load_data, own(tmp_path, "--data.split=time", "--data.time=time"))
    assert "row 2, column time: 'yesterday' is no number or date" in line


def test_a_split_by_time_needs_times(complaint, framework, table):
    line = complaint("train", f"{NAME}/csv", "--framework", framework, f"--data.root={table}", "--data.split=time")
    assert "data.time" in line


# What is fitted.


def test_who_has_most_training_ratings_comes_first():
    found = load_data(load_config(NAME, SMALL))
    for name in ("user", "item"):
        counts = np.bincount(found.train.arrays[name])
        assert counts.min() > 0 and (np.diff(counts) <= 0).all() and len(counts) == found.spec[f"{name}s"]


def test_what_users_have_rated_is_kept():
    found = load_data(load_config(NAME, SMALL))
    train, offsets = found.train.arrays, found.spec["rated_offsets.npy"]
    for user in range(found.spec["users"]):
        rated = found.spec["rated_items.npy"][offsets[user] : offsets[user + 1]]
        assert sorted(rated) == sorted(train["item"][train["user"] == user])


def test_statistics_are_of_the_training_ratings():
    found = load_data(load_config(NAME, SMALL))
    rating = found.train.arrays["rating"].astype(float)
    expected = {"mean": rating.mean(), "unit": rating.std(), "lowest": rating.min(), "highest": rating.max()}
    assert {name: found.spec[name] for name in expected} == pytest.approx(expected)


def test_a_run_goes_on_with_its_own_names(table):
    spec = load_data(own(table)).spec
    write(table / "ratings.csv", *(row.replace("A", "new") for row in reversed(ROWS)))
    found, task = own(table), tasks.find(NAME)
    later = task.load(found, spec)
    assert later.spec == spec
    users = json.loads(spec["users.json"])
    numbers = np.concatenate([everything(part)["user"] for part in (later.train, later.val, later.test)])
    assert sorted(set(numbers)) == sorted({i for i, name in enumerate(users) if name != "A"} | {len(users)})


@pytest.mark.parametrize("change", ["one row more", "sorted", "another unit"])
def test_other_ratings_have_another_fingerprint(table, change):
    """So that evaluate and a run that goes on refuse them."""
    before = load_data(own(table)).fingerprint()
    assert before == load_data(own(table)).fingerprint() and set(before) == {"train", "val", "test"}
    rows = {
        "one row more": [*ROWS, "A,v,3"],
        "sorted": ROWS[::-1],
        "another unit": [f"{row}0" for row in ROWS],
    }[change]
    write(table / "ratings.csv", *rows)
    assert load_data(own(table)).fingerprint()["train"] != before["train"]


def test_generated_ratings_have_no_fingerprint():
    """Their last digits differ from machine to machine."""
    assert load_data(load_config(NAME, SMALL)).fingerprint() == {}


def test_a_run_is_not_evaluated_on_a_table_that_has_grown_but_on_a_file_of_its_own(cli, project, framework):
    write(project / "ratings.csv", *ROWS)
    words = [f"{NAME}/csv", "--framework", framework, "--accelerator=cpu", "--data.batch_size=8", *steps(2)]
    assert cli("train", *words, "--name=one").code == 0
    run = f"runs/{NAME}/csv/{framework}/one"
    write(project / "new.csv", "A,v,1", "B,w,5", "C,x,2")
    assert cli("evaluate", run, "--data.test_path=new.csv").code == 0
    write(project / "ratings.csv", *ROWS, "A,v,3")
    done = cli("evaluate", run)
    assert done.code == 2 and "the data have changed" in done.err and "--data.test_path" in done.err
    assert cli("train", *words, "--name=one", "--trainer.max_steps=4").code == 2
    done = cli("evaluate", run, "--data.test_path=new.csv")
    assert done.code == 0 and "test/rmse" in done.out, done.err


# What is learnt.


@pytest.fixture(scope="module")
def folder(framework, tmp_path_factory):
    """A run with weight decay and by time, so that there are users and items that training knows nothing of."""
    run_dir = tmp_path_factory.mktemp(framework)
    options = ["--data.split=time", "--optimizer.weight_decay=0.1", "--optimizer.learning_rate=0.05"]
    words = ["--framework", framework, *SMALL, *options, *steps(20), f"--run_dir={run_dir}", "--trainer.log_every=1"]
    return workflow.train(load_config(NAME, words))


def test_ratings_of_another_range_are_learnt_alike(project, framework):
    found = []
    for scale in (1, 100):
        rng = np.random.default_rng(0)
        users, items = rng.integers(0, 20, 600), rng.integers(0, 15, 600)
        ratings = scale * (3 + (users % 3) - (items % 2) + rng.normal(0, 0.1, 600))
        rows = [f"{u},{i},{r!r}" for u, i, r in zip(users.tolist(), items.tolist(), ratings.tolist(), strict=True)]
        (project / "own.csv").write_text("\n".join(["user,item,rating", *rows]))
        words = ["--framework", framework, *SMALL, *steps(60), "--data.name=csv", "--data.path=own.csv"]
        folder = workflow.train(load_config(NAME, [*words, "--optimizer.learning_rate=0.05", f"--name=by{scale}"]))
        found.append(read_result(folder)["metrics"]["test/rmse"] / scale)
    assert found[0] == pytest.approx(found[1], rel=1e-3) and found[0] < 0.9 * np.std(ratings / scale)


def test_the_unknown_are_the_mean_and_what_is_known_of_the_other(project, framework):
    """The user B is new in the test, and so is the item b for half of it."""
    rows = [f"A,a,{k % 5},{k}" for k in range(1, 91)]
    rows += [f"B,a,1,{k}" for k in range(91, 96)] + [f"B,b,1,{k}" for k in range(96, 101)]
    write(project / "ratings.csv", *rows, header="user,item,rating,time")
    words = ["--framework", framework, "--accelerator=cpu", *steps(2), "--data.batch_size=16", "--data.root=."]
    config = load_config(f"{NAME}/csv", [*words, "--data.split=time", "--data.time=time"])
    folder, found = workflow.train(config), load_data(config)
    outputs = make_engine(config, found.spec).predict(next((folder / "checkpoints").iterdir()), found.test)
    bias = final_weights(folder)["item_bias"]
    mean, unit = found.spec["mean"], found.spec["unit"]
    assert outputs["rating"][:5] == pytest.approx(np.full(5, mean + unit * bias[0]), rel=1e-6)
    assert outputs["rating"][5:] == pytest.approx(np.full(5, mean), rel=1e-6)


# What is predicted.


@pytest.fixture
def spec(table):
    """Of a table with titles for four of the items."""
    titles = ['v,"One, two | three",Crime|Drama', "w,Two,(no genres listed)", "x,Three,Drama", "y,Four,"]
    write(table / "titles.csv", *titles, header="item,title,genres")
    return load_data(own(table, "--data.titles=titles.csv", "--data.val_fraction=0.2", "--data.test_fraction=0.2")).spec


def rated_by(spec, user):
    users, offsets = json.loads(spec["users.json"]), spec["rated_offsets.npy"]
    number = users.index(user)
    return spec["rated_items.npy"][offsets[number] : offsets[number + 1]]


def test_the_best_items_that_a_user_has_not_rated_are_listed(spec):
    rating = np.array([2.0, 1.0, 9.0, 3.0, 4.0], np.float32)
    rows = describe(["C"], {"rating": rating[None]}, spec, top=2)
    left = [item for item in np.argsort(-rating) if item not in rated_by(spec, "C")][:2]
    items = json.loads(spec["items.json"])
    assert [row["item"] for row in rows] == [items["item"][item] for item in left]
    assert [row["title"] for row in rows] == [items["title"][item] for item in left]
    assert [row["rating"] for row in rows] == [min(rating[item], 5) for item in left]
    assert [(row["user"], row["rank"]) for row in rows] == [("C", i + 1) for i in range(len(left))]


def test_who_has_rated_everything_is_told(spec):
    spec = {**spec, "rated_items.npy": np.arange(5), "rated_offsets.npy": np.array([0, 5])}
    user = json.loads(spec["users.json"])[0]
    assert f"user {user!r} has rated all 5 items" in refused(describe, [user], {"rating": np.ones((1, 5))}, spec, top=1)


TWO_USERS = {"users.json": '["5", "7"]', "format": data.OwnTableConfig().format()}


@pytest.mark.parametrize("given", ["7", 7, [7], ["7"], np.array([7]), 7.0, "7.0", " 7 ", np.float32(7), [np.int64(7)]])
def test_users_are_named_as_text_or_number(given):
    source, names = inputs(given, TWO_USERS)
    assert names == ["7"] and everything(source)["user"].tolist() == [1]


def test_users_are_named_with_the_decimal_comma_of_their_table():
    spec = {**TWO_USERS, "format": data.OwnTableConfig(decimal=",").format()}
    assert inputs(["7,0", 7.0], spec).names == ["7", "7"]


@pytest.mark.parametrize("given", [[], ()])
def test_no_user_is_one_line(given):
    assert "users are wanted" in refused(inputs, given, TWO_USERS)


@pytest.mark.parametrize("given", [None, [float("nan")], ["7_0"], ["\uff17"]])
def test_what_is_no_user_is_unknown(given):
    assert "has no ratings in the training data" in refused(inputs, given, TWO_USERS)


def test_unknown_users_are_named_and_the_others_predicted_where_bad_ones_may_be_skipped():
    bad = Bad(skip=True)
    source, names = inputs(["7", "nobody", "5"], TWO_USERS, bad)
    assert (names, everything(source)["user"].tolist(), bad.count) == (["7", "5"], [1, 0], 1)
    assert "user 'nobody' has no ratings" in bad.first[0]


def test_an_unknown_user_is_one_line_with_a_hint(complaint, folder):
    line = complaint("predict", folder, "1", "nobody")
    assert "user 'nobody' has no ratings in the training data" in line and "fitted/users.json" in line


def test_a_user_who_has_rated_everything_is_told_beside_others(spec, capsys):
    users = json.loads(spec["users.json"])
    spec = {**spec, "rated_items.npy": np.arange(6) % 5, "rated_offsets.npy": np.array([0, 5, 6])}
    rows = describe(users[:2], {"rating": np.ones((2, 5))}, spec, top=1)
    assert [row["user"] for row in rows] == [users[1]]
    assert f"user {users[0]!r} has rated all 5 items" in capsys.readouterr().err


# What is shown.


def test_examples_are_a_table_of_ratings_with_predictions(spec):
    batch = {"user": np.array([0, 5]), "item": np.array([5, 0]), "rating": np.array([4.5, 3], np.float32)}
    rows = examples(batch, {"rating": np.array([9.0, 2.126])}, spec)["examples"].splitlines()
    users, titles = json.loads(spec["users.json"]), json.loads(spec["items.json"])["title"]
    assert rows[2] == f"| {users[0]} | (not in training) | 4.5 | 5.00 |"
    assert rows[3] == "| (not in training) | " + titles[0].replace("|", "\\|") + " | 3 | 2.13 |"


def test_the_projector_has_items_with_titles_and_genres(spec):
    header, rows = embeddings(spec)["item_vectors/embedding"]
    found = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    assert (found["v"]["title"], found["v"]["genres"], found["v"]["first genre"]) == (
        "One, two | three",
        "Crime|Drama",
        "Crime",
    )
    assert found["w"]["genres"] == found["z"]["title"] == ""
    assert sum(int(row["training ratings"]) for row in found.values()) == 15


def test_the_projector_has_items_without_titles(table):
    header, rows = embeddings(load_data(own(table)).spec)["item_vectors/embedding"]
    assert header == ["item", "training ratings"] and len(rows) == 5


def test_the_projector_gets_the_best_vectors_of_a_run(folder):
    vectors = np.loadtxt(folder / "projector/item_vectors_embedding.tsv", delimiter="\t")
    assert vectors == pytest.approx(final_weights(folder, "best")["item_vectors.weight"][:-1], rel=1e-3, abs=1e-6)
