"""Regression: its columns, and training, evaluation and prediction on tables of one's own and miniatures of others."""

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import FRAMEWORKS, everything
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score

from {{cookiecutter.package_name}} import load, load_config, train
from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine.data.sources import Arrays
from {{cookiecutter.package_name}}.engine.data.tables import Format, Table
from {{cookiecutter.package_name}}.engine.errors import InputError, RunError
from {{cookiecutter.package_name}}.engine.folder import read_result, read_spec
from {{cookiecutter.package_name}}.tasks.regression.charts import scatter
from {{cookiecutter.package_name}}.tasks.regression.columns import Category, Columns, Number, Roles, fit

TASK = tasks.find("regression")


# Columns: what is learnt from training rows, and what becomes of every row.


def table(**columns):
    """A table in memory, of cells as text."""
    return Table.of(Path("some.csv"), list(columns), enumerate(zip(*columns.values(), strict=True), 2))


def fitted(categorical=(), min_count=1, train=None, **columns):
    """The columns of a table that has a target beside them."""
    count = len(next(iter(columns.values())))
    found = table(**columns, y=[str(i) for i in range(count)])
    return fit(found, np.arange(count) if train is None else np.array(train), Roles("y", categorical), min_count)


def test_numbers_are_standardised_with_the_training_rows_statistics():
    columns = fitted(a=["1", "3", "1", "3", "100"], train=[0, 1, 2, 3])
    assert columns.numeric == [Number("a", 2.0, 1.0, False)]
    assert columns.inputs(table(a=["1", "2", "102"]))["numeric"].tolist() == [[-1], [0], [100]]


@pytest.mark.parametrize("cell", ["", " ", "?", "NA", "N/A", "NaN", "nan", "null", "NULL"])
def test_a_missing_number_is_the_mean_and_has_a_flag(cell):
    columns = fitted(a=["1", "3", cell], b=["4", "6", "5"])
    assert columns.inputs(table(a=["3", cell], b=["5", "5"]))["numeric"].tolist() == [[1, 0, 0], [0, 0, 1]]
    assert columns.numbers == 3


def test_words_for_what_is_missing_may_be_added():
    rows = replace(table(a=["1", "3", "-"], y=["1", "2", "3"]), format=Format(missing=("-",)))
    assert fit(rows, np.arange(3), Roles("y")).numeric == [Number("a", 2.0, 1.0, True)]


def test_a_number_that_is_never_missing_in_training_has_no_flag_and_may_be_missing_later():
    columns = fitted(a=["1", "3", ""], train=[0, 1])
    assert columns.inputs(table(a=["3", ""]))["numeric"].tolist() == [[1], [0]]


@pytest.mark.parametrize("cells", [["", "", "7"], ["0.1", "0.1", "7"]], ids=["empty", "constant"])
def test_a_column_that_does_not_vary_in_training_rows_is_left_out_and_named(cells, capsys):
    columns = fitted(a=cells, b=["1", "2", "3"], train=[0, 1])
    assert [column.name for column in columns.numeric] == ["b"] and columns.left_out == ["a"]
    found = columns.inputs(table(a=["7", "9", ""], b=["1", "1", "1"]))["numeric"]
    assert found.shape == (3, 1) and len(np.unique(found)) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"a ({'no value' if cells[0] == '' else 'always 0.1'})" in said


def test_a_column_that_differs_by_rounding_only_does_not_vary():
    cells = [repr(0.1 + 0.2), "0.3", "0.3", repr(0.1 + 0.2)]
    assert fitted(a=cells, b=["1", "2", "3", "4"]).left_out == ["a"]
    assert fitted(a=["1600000000.001", "1600000000.002"]).left_out == []


def test_a_column_of_one_value_and_gaps_tells_by_its_gaps_only():
    columns = fitted(a=["5", "", "5"])
    assert columns.inputs(table(a=["5", "8", ""]))["numeric"].tolist() == [[0, 0], [0, 0], [0, 1]]


def test_a_table_in_which_nothing_varies_is_refused():
    with pytest.raises(InputError, match="no column varies in the training rows"):
        fitted(a=["1", "1", "1"])


def test_categories_are_numbered_and_what_is_missing_is_not_what_is_unknown():
    columns = fitted(["a"], a=["b", "c", "", "b"])
    assert columns.categorical == [Category("a", ["b", "c"])] and columns.categories == [3]
    found = columns.inputs(table(a=["c", "b", "z", "", "NA"]))
    assert found["categorical"].tolist() == [[2], [1], [3], [0], [3]] and "numeric" not in found
    assert found["categorical"].dtype == np.int32


def test_na_is_a_category_as_namibia_is_unless_it_is_said_to_be_missing():
    assert fitted(["a"], a=["NA", "DE", ""]).categorical == [Category("a", ["DE", "NA"])]
    rows = replace(table(a=["NA", "DE", "AT"], y=["1", "2", "3"]), format=Format(missing=("NA",)))
    assert fit(rows, np.arange(3), Roles("y", ["a"])).categorical == [Category("a", ["AT", "DE"])]


def test_what_is_missing_counts_as_unknown_where_training_rows_lack_nothing():
    columns = fitted(["a"], a=["b", "c", "b"])
    assert columns.inputs(table(a=["", "z"]))["categorical"].tolist() == [[3], [3]]


def test_rare_categories_and_those_of_other_rows_are_not_known():
    columns = fitted(["a"], 2, train=[0, 1, 2, 3, 4], a=["b", "b", "c", "e", "e", "d", "d"])
    assert columns.categorical == [Category("a", ["b", "e"], gaps=False)]


def test_a_column_of_one_category_is_left_out(capsys):
    assert fitted(["a"], 2, a=["b", "b", "c"], b=["1", "2", "3"]).left_out == ["a"]
    assert "a (always b)" in capsys.readouterr().err


def test_codes_are_the_same_when_a_program_has_written_them_as_fractions():
    assert fitted(["a"], a=["3", "3.0", "-1.00", "2.5"]).categorical[0].known == ["-1", "2.5", "3"]


def test_an_index_without_a_name_is_left_out_and_another_column_without_one_is_refused(capsys):
    columns = fitted(**{"Unnamed: 0": ["2", "0", "1"], "b": ["1", "2", "3"]})
    assert columns.left_out == ["Unnamed: 0"] and "an index without a name" in capsys.readouterr().err
    with pytest.raises(InputError, match="column 1 has no name: give it a name in the first row, or --data.drop 'Unn"):
        fitted(**{"Unnamed: 0": ["2", "0", "2"], "b": ["1", "2", "3"]})


def test_columns_that_are_no_numbers_are_told_apart_with_the_options_to_copy():
    rows = 60
    columns = {
        "street": [f"{i} Elm Street" for i in range(rows)],
        "zone": ["north", "south, far"] * 30,
        "size": ["n.a."] * 3 + [f"{i}" for i in range(3, rows)],
        "two words": ["east", "west"] * 30,
    }
    with pytest.raises(InputError) as caught:
        fitted(**columns)
    line = str(caught.value)
    assert "--data.categorical 'zone,two words' --data.drop street --data.missing n.a. (" in line
    assert "street: an identifier, another in each row" in line and "zone: 2 names as 'north', 'south, far'" in line
    assert "size: numbers, but 3 of 60 rows have 'n.a.'" in line


@pytest.mark.parametrize(
    ("cells", "options"),
    [
        (["1,5", "22,25", "3"], "--data.decimal ,"),
        (["1.234,5", "2,5", "10.000"], "--data.decimal , --data.thousands ."),
        (["1,234.5", "2.5", "10,000"], "--data.thousands ,"),
        (["1 234,5", "2,5", "1"], "--data.decimal , --data.thousands space"),
    ],
)
def test_numbers_as_other_countries_write_them_are_recognised(cells, options):
    with pytest.raises(InputError, match=re.escape(f"a: numbers with {options})")):
        fitted(a=cells)


def test_large_targets_keep_their_precision():
    found = table(a=["1", "2", "3"], y=["1600000001", "1600000002", "1600000003"])
    columns = fit(found, np.arange(3), Roles("y"))
    assert columns.targets(found) == pytest.approx([-(1.5**0.5), 0, 1.5**0.5])
    assert columns.targets(found).dtype == np.float32


def test_columns_come_back_from_their_text():
    columns = fitted(["b"], a=["0.1", "", "0.3"], b=["é", "x", "x"], c=["1", "1", "1"])
    assert Columns.from_text(columns.to_text()) == columns


# Datasets.


@pytest.fixture(scope="module")
def diabetes():
    return dataset()


def dataset(*options, target="regression", spec=None):
    return TASK.load(load_config(target, options), spec)


@pytest.mark.parametrize(("option", "same"), [("--seed=1", True), ("--data.split_seed=1", False)])
def test_splits_depend_on_their_own_seed_only(diabetes, option, same):
    assert np.array_equal(dataset(option).test.arrays["target"], diabetes.test.arrays["target"]) is same


# A table of one's own: names, codes, gaps, and a column to drop.

CITIES = {"Bern": 3.0, "Genève": 6.0, "Chur": 1.0}
OPTIONS = ["--data.path=houses.csv", "--data.target=price", "--data.categorical=city,kind", "--data.drop=id"]


def houses(count, seed):
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        city, kind, rooms, size = rng.choice(list(CITIES)), rng.integers(2), rng.integers(1, 7), rng.uniform(20, 200)
        price = 100 * CITIES[city] + 50 * kind + 30 * rooms + size + rng.normal()
        rows.append({"id": f"house {i}", "city": city, "kind": kind, "rooms": "NA" if i % 7 == 0 else rooms})
        rows[-1] |= {"size": f"{size:.1f}", "price": f"{price:.2f}"}
    return rows


def written(rows, delimiter=",", columns=()):
    """Rows as CSV, in UTF-8."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns or list(rows[0]), delimiter=delimiter, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


TRAIN, NEW = houses(150, 0), houses(30, 1)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The folder of the tables; to be read only."""
    folder = tmp_path_factory.mktemp("tables")
    (folder / "houses.csv").write_bytes(written(TRAIN))
    (folder / "new.csv").write_bytes(written(NEW))
    (folder / "inputs.csv").write_bytes(written(NEW, columns=["size", "kind", "rooms", "city"]))
    return folder


def words(framework, root, *options, target="regression/csv"):
    """The words of a command that trains a small model a little."""
    small = ["--model.hidden=16", "--data.batch_size=16", "--trainer.max_steps=30", "--trainer.epochs=0"]
    command = ["train", target, "--framework", framework, "--accelerator=cpu", f"--data.root={root}"]
    return [*command, *OPTIONS, *small, "--optimizer.learning_rate=0.01", "--trainer.val_every=10", *options]


@pytest.fixture(scope="module")
def trained(root, framework, cli, tmp_path_factory):
    """A trained run of each framework; to be read only."""
    run_dir = tmp_path_factory.mktemp(framework)
    outcome = cli(*words(framework, root, f"--run_dir={run_dir}", "--name=one"))
    assert outcome.code == 0, outcome.err
    return run_dir / "regression" / "csv" / framework / "one"


@pytest.fixture(scope="module")
def model(trained):
    return load(trained)


def test_a_result_has_every_metric(trained):
    assert set(read_result(trained)["metrics"]) == {
        f"{split}/{name}" for split in ("val", "test") for name in ("loss", "mse", "mae", "r2")
    }


def test_a_run_keeps_its_columns(trained):
    columns = json.loads((trained / "fitted" / "columns.json").read_text(encoding="utf-8"))
    assert [column["name"] for column in columns["numeric"]] == ["rooms", "size"]
    assert columns["categorical"] == [
        {"name": "city", "known": sorted(CITIES), "gaps": False},
        {"name": "kind", "known": ["0", "1"], "gaps": False},
    ]


@pytest.fixture(scope="module")
def predicted(trained, root, cli):
    return cli("predict", trained, root / "new.csv")


def test_prediction_is_a_line_for_each_row_in_order(predicted, root):
    lines = [r"input +prediction", *(rf"{root / 'new.csv'}, row {i} +\d+\.\d+" for i in range(2, 32))]
    assert re.fullmatch("\n".join(lines) + "\n", predicted.out), predicted.out


def test_prediction_takes_several_files(trained, root, cli):
    out = cli("predict", trained, root / "new.csv", root / "inputs.csv").out.splitlines()
    assert len(out) == 61 and out[1].split()[-1] == out[31].split()[-1]


def test_prediction_takes_rows_in_python(model, root):
    expected = model.predict(root / "new.csv")
    rows = [{**row, "rooms": None if row["rooms"] == "NA" else float(row["rooms"])} for row in NEW]
    found = model.predict(rows)
    assert found[0]["input"] == "inputs, row 0"
    assert [row["prediction"] for row in found] == [row["prediction"] for row in expected]


def test_what_was_fitted_is_taken_from_the_run(trained, root):
    options = [f"--data.root={root}", *OPTIONS, "--data.path=new.csv"]
    spec = read_spec(trained)
    data = dataset(*options, target="regression/csv", spec=spec)
    assert data.spec == spec != dataset(*options, target="regression/csv").spec


def test_a_run_shows_its_predictions(trained):
    assert b"val/scatter" in next(trained.glob("events.*")).read_bytes()


@pytest.mark.parametrize("delimiter", [";", "|", "tab"])
def test_other_delimiters_are_read_in_training_and_in_prediction(project, root, delimiter):
    (project / "houses.csv").write_bytes(written(TRAIN, delimiter="\t" if delimiter == "tab" else delimiter))
    options = [f"--data.root={project}", *OPTIONS, f"--data.delimiter={delimiter}"]
    data = dataset(*options, target="regression/csv")
    expected = dataset(f"--data.root={root}", *OPTIONS, f"--data.path={root / 'houses.csv'}", target="regression/csv")
    assert np.array_equal(data.train.arrays["numeric"], expected.train.arrays["numeric"])
    assert len(TASK.inputs("houses.csv", data.spec).source) == 150


def test_names_with_commas_are_quoted(project):
    rows = [f"{i},{i % 7},{i}" for i in range(20)]
    (project / "houses.csv").write_text("\n".join(['"size, m2",id,y', *rows]))
    options = [f"--data.root={project}", "--data.path=houses.csv", "--data.target=y", '--data.drop="size, m2"']
    spec = dataset(*options, target="regression/csv").spec
    assert (spec["numbers"], spec["categories"]) == (1, []) and not spec["columns.json"].count("m2")


def test_with_a_table_to_test_on_all_other_rows_are_trained_or_validated_on(root):
    data = dataset(f"--data.root={root}", *OPTIONS, "--data.test_path=new.csv", target="regression/csv")
    assert [len(split) for split in (data.train, data.val, data.test)] == [135, 15, 30]


# Bike sharing, in the form of UCI's file.

BIKES = "instant,dteday,season,yr,mnth,hr,holiday,weekday,workingday,weathersit,"
BIKES += "temp,atemp,hum,windspeed,casual,registered,cnt"


def bikes(count):
    rows = [BIKES]
    for i in range(count):
        casual, registered = i % 5, 3 * (i % 24)
        start = f"{i + 1},2011-01-{1 + i // 24:02},1,0,1,{i % 24},0,{(6 + i // 24) % 7},0,{1 + i % 3}"
        rows.append(f"{start},0.24,0.2879,0.{i % 90 + 10},0,{casual},{registered},{casual + registered}")
    return "\r\n".join([*rows, ""]).encode("ascii")


def test_bike_sharing_trains_evaluates_and_predicts(cli, project, framework):
    Path("data/bike_sharing").mkdir(parents=True)
    Path("data/bike_sharing/hour.csv").write_bytes(bikes(400))
    options = ("--framework", framework, "--accelerator=cpu", "--debug=fast", "--model.hidden=8")
    outcome = cli("train", "regression/bike_sharing", *options)
    assert outcome.code == 0, outcome.err
    run = Path("runs/regression/bike_sharing", framework, "001")
    spec = read_spec(run)
    assert (spec["numbers"], spec["categories"]) == (1, [25, 8, 4])  # the others do not vary here
    assert cli("evaluate", run).code == 0
    assert len(cli("predict", run, "data/bike_sharing/hour.csv").out.splitlines()) == 401


# What is wrong is told before anything is written.


def changed(row, **cells):
    """The table with other cells in one row."""
    rows = [dict(one) for one in TRAIN]
    rows[row] |= cells
    return written(rows)


HOUSES = written(TRAIN)
WRONG_TABLES = {
    "a missing target": (changed(3, price=""), "houses.csv, row 5, column price: no value"),
    "text for a target": (changed(3, price="cheap"), "houses.csv, row 5, column price: 'cheap' is no number"),
    "text in a numeric column": (
        changed(3, size="big"),
        "houses.csv, row 5, column size: 'big' is no number: add --data.missing big (size: numbers, but 1 of 150 rows",
    ),
    "an infinite number": (changed(3, size="inf"), "houses.csv, row 5, column size: 'inf' is no number"),
    "a row of the wrong length": (HOUSES + b"1,2,3\r\n", "houses.csv, row 152: 3 columns, expected 6"),
    "an empty file": (b"", "houses.csv is empty"),
    "no rows": (HOUSES.splitlines()[0], "houses.csv has no rows"),
    "invalid UTF-8": ("id,city,kind,rooms,size,price\na,Genève,1,1,1,1".encode("latin-1"), "houses.csv, row 2: byte"),
    "two columns of one name": (HOUSES.replace(b"rooms", b"size"), "2 columns 'size'"),
    "a column without a name": (HOUSES.replace(b"rooms", b""), "houses.csv: column 4 has no name"),
    "a target that is the same everywhere": (
        written([{**row, "price": 3} for row in TRAIN]),
        "houses.csv: price is 3 in every training row",
    ),
    "too few rows": (written(TRAIN[:5]), "data.val_fraction = 0.1 of 4 rows leaves none"),
}


@pytest.mark.parametrize("case", WRONG_TABLES)
def test_a_table_that_is_wrong_is_one_line(complaint, project, case):
    content, part = WRONG_TABLES[case]
    (project / "houses.csv").write_bytes(content)
    assert part in complaint(*words(FRAMEWORKS[0], "."))


WRONG_OPTIONS = {
    "no path": (["--data.path="], "data.path = '': name a CSV file"),
    "no target": (["--data.target="], "data.target = '': name the column to predict"),
    "a file that is not there": (["--data.path=none.csv"], "data.path = 'none.csv': there is neither none.csv nor"),
    "a test file that is not there": (["--data.test_path=none.csv"], "data.test_path = 'none.csv': there is neither"),
    "a target that is not there": (["--data.target=prize"], "houses.csv has no column 'prize': did you mean 'price'?"),
    "a category that is not there": (["--data.categorical=town"], "data.categorical: "),
    "a column to drop that is not there": (["--data.drop=kid"], "data.drop: "),
    "a target that is dropped": (["--data.drop=price"], "data.target = 'price', which data.categorical or data.drop"),
    "no column left": (["--data.drop=id,city,kind,rooms,size"], "no column left to predict price from"),
    "several columns of text": (
        ["--data.categorical=kind", "--data.drop=rooms"],
        "add --data.categorical kind,city --data.drop rooms,id (",
    ),
    "no rows to test on": (["--data.test_fraction=0"], "data.test_fraction = 0.0 of 150 rows leaves none"),
    "no rows to validate on": (["--data.val_fraction=0"], "data.val_fraction = 0.0 of 120 rows leaves none"),
    "no rows to train on": (
        ["--data.val_fraction=0.999"],
        "data.val_fraction = 0.999 of 120 rows leaves none to train",
    ),
    "another delimiter": (["--data.delimiter=x"], "--data.delimiter x: expected one of"),
}


@pytest.mark.parametrize("case", WRONG_OPTIONS)
def test_options_that_do_not_fit_are_one_line(complaint, root, case):
    options, part = WRONG_OPTIONS[case]
    assert part in complaint(*words(FRAMEWORKS[0], root, *options))


@pytest.mark.parametrize(
    ("option", "part"),
    [
        ("--data.target=size", "data.target = 'size', but the run was trained with 'price'"),
        ("--data.categorical=city", "data.categorical = 'city', but the run was trained with 'city,kind'"),
        ("--data.drop=id,size", "data.drop = 'size', but the run was trained with ''"),
    ],
)
def test_evaluation_with_other_columns_is_one_line(complaint, trained, option, part):
    assert part in complaint("evaluate", trained, option)


WRONG_INPUTS = {
    "text in a numeric column": (b"city,kind,rooms,size\nBern,1,3,80\nBern,1,3,big\n", "row 3, column size: 'big' is"),
    "a column that is missing": (b"city,kind,rooms\nBern,1,3\n", "new.csv has no column 'size'"),
    "a row of the wrong length": (b"city,kind,rooms,size\nBern,1,3\n", "new.csv, row 2: 3 columns, expected 4"),
    "an empty file": (b"", "new.csv is empty"),
    "invalid UTF-8": (b"city,kind,rooms,size\nGen\xe8ve,1,3,8\n", "new.csv, row 2: byte 0xe8"),
}


@pytest.mark.parametrize("case", WRONG_INPUTS)
def test_inputs_that_are_wrong_are_one_line(complaint, trained, project, case):
    content, part = WRONG_INPUTS[case]
    (project / "new.csv").write_bytes(content)
    assert part in complaint("predict", trained, "new.csv")


def test_a_missing_file_to_predict_is_one_line(complaint, trained):
    assert "none.csv: No such file" in complaint("predict", trained, "none.csv")


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ([], "no inputs"),
        (7, "inputs of type int: paths of CSV files are wanted, or rows"),
        (["new.csv", {"city": "Bern"}], "inputs of other types"),
        ([{"city": "Bern", "kind": 1, "rooms": 3}], "inputs has no column 'size'"),
        ([{"city": "Bern", "kind": 1, "rooms": 3, "size": "big"}], "inputs, row 0, column size: 'big' is no number"),
        ([{"city": "Bern", "size": 1}, {"city": "Bern"}], "inputs, row 1: columns city, but row 0 has city, size"),
    ],
)
def test_rows_that_are_wrong_are_told(model, given, part):
    with pytest.raises(InputError) as caught:
        model.predict(given)
    assert part in str(caught.value)


# The picture.


@pytest.mark.parametrize("values", [[], [np.nan], [2.0], [1e30]])
def test_a_scatter_of_nothing_to_compare_is_drawn_too(values):
    picture = scatter(np.array(values), np.array(values), "y")
    assert picture.dtype == np.uint8 and picture.shape[2] == 3


# How good it is.


@pytest.mark.slow
def test_diabetes_is_predicted_as_well_as_by_ridge_regression(project, framework):
    ours, theirs = [], []
    for seed in range(8):
        config = load_config("regression", {"framework": framework, "data.split_seed": seed, "trainer.log_every": 0})
        data = TASK.load(config, None)
        x, y = (
            np.concatenate([split.arrays[name] for split in (data.train, data.val)]) for name in ("numeric", "target")
        )
        ridge = Ridge(1.0).fit(x, y)
        theirs.append(r2_score(data.test.arrays["target"], ridge.predict(data.test.arrays["numeric"])))
        ours.append(read_result(train(config))["metrics"]["test/r2"])
    assert np.mean(ours) >= np.mean(theirs) - 0.01


def test_a_number_that_is_none_in_the_data_is_not_blamed_on_the_learning_rate(project, framework, monkeypatch):
    def spoilt(config, spec):
        data = TASK.load(config, spec)
        rows = everything(data.train)
        rows["numeric"][3] = np.nan
        return replace(data, train=Arrays(**rows))

    monkeypatch.setattr(tasks, "find", lambda name: replace(TASK, load=spoilt))
    with pytest.raises(RunError, match="first 'numeric' of the batch in step .: a number in the data is none, or inf"):
        train(load_config("regression", ["--framework", framework, "--accelerator=cpu", "--trainer.epochs=1"]))
