"""Click prediction: tables as numbers, its metrics, and what its commands say of good and bad files."""

import csv
import tracemalloc

import numpy as np
import pytest
from conftest import small, steps
from helpers import load_data

from {{cookiecutter.package_name}}.engine import registry
from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine.data.bad import Bad
from {{cookiecutter.package_name}}.engine.data.batches import TrainBatches
from {{cookiecutter.package_name}}.engine.data.tables import PLAIN, Format
from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.engine.folder import read_config, read_result, read_spec
from {{cookiecutter.package_name}}.engine.workflow import Predictor
from {{cookiecutter.package_name}}.tasks.click_prediction import cells, data, metrics
from {{cookiecutter.package_name}}.tasks.click_prediction.cells import make_cells, read_cells

TASK = tasks.find("click_prediction")
SMALL = small("click_prediction")


def settings(*options):
    return registry.load_config("click_prediction", ["--framework", list(registry.frameworks())[0], *SMALL, *options])


def refused(*options):
    with pytest.raises(InputError) as caught:
        load_data(settings(*options))
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Cells.


def texts(path, **options):
    """(line, cells) of each row, as they are read in blocks."""
    found = []
    for block in read_cells(path, PLAIN, **options):
        columns = range(block.starts.shape[1])
        found += [(int(block.lines[i]), [block.cell(i, j) for j in columns]) for i in range(len(block))]
    return found


ROWS = [(1, ["a", "b", "c"]), (2, ["", "two", "3"]), (3, ["ä€", "", ""])]


@pytest.mark.parametrize(
    "text",
    [
        "a,b,c\n,two,3\nä€,,\n",
        "a,b,c\n,two,3\nä€,,",
        "a,b,c\r\n,two,3\r\nä€,,\r\n",
        "\ufeffa,b,c\n,two,3\nä€,,\n\n\n",
        " a,b , c\n , two ,3\nä€,,\n",
        '"a",b,c\n"",two,"3"\nä€,,\n',
    ],
    ids=["plain", "no last line break", "of Windows", "byte order mark and empty lines", "blanks", "quotes"],
)
@pytest.mark.parametrize("block", [3, 1 << 19])
def test_a_table_is_read_in_each_of_its_forms(tmp_path, monkeypatch, text, block):
    monkeypatch.setattr(cells, "BLOCK", block)
    (tmp_path / "table.csv").write_text(text, encoding="utf-8", newline="")
    assert texts(tmp_path / "table.csv") == ROWS


def test_empty_lines_count_in_the_numbers_of_rows(tmp_path):
    (tmp_path / "table.csv").write_text("a,b\n\n1,2\n")
    assert texts(tmp_path / "table.csv") == [(1, ["a", "b"]), (3, ["1", "2"])]


def test_quoted_cells_may_hold_delimiters_and_line_breaks(tmp_path):
    (tmp_path / "table.csv").write_text('a,b\n"1,5","x\ny"\n3,4\n')
    assert texts(tmp_path / "table.csv") == [(1, ["a", "b"]), (2, ["1,5", "x\ny"]), (4, ["3", "4"])]


def test_the_progress_adds_up_to_the_file(tmp_path):
    path, done = tmp_path / "table.csv", []
    path.write_text("a,b\n" * 100_000)
    list(read_cells(path, PLAIN, progress=done.append))
    assert sum(done) == path.stat().st_size and len(done) > 1


def of(*column, format=PLAIN):
    """A column of these cells."""
    return make_cells("some.csv", range(2, len(column) + 2), [[cell] for cell in column], format)


def test_a_hash_does_not_depend_on_the_place_of_the_cell():
    found = cells.hashes(make_cells("", [1, 2], [["first", "a", "b"], ["b", "first", "a"]]))
    assert found[0].tolist() == [found[1, 1], found[1, 2], found[1, 0]]


def test_a_hash_does_not_depend_on_quotes_elsewhere_in_the_file(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n x\t,y\n")
    (tmp_path / "b.csv").write_text('"a",b\n x\t,y\n')
    a, b = (cells.hashes(next(read_cells(tmp_path / name, PLAIN))).tolist() for name in ("a.csv", "b.csv"))
    assert a == b


def test_few_cells_share_a_hash():
    words = of(*(f"{i:08x}" for i in range(200_000)))
    found = cells.hashes(words)
    assert found.min() >= 0 and found.dtype == np.int32
    assert len(np.unique(found)) > 200_000 - 50  # by chance: 9


def test_hashes_fill_their_buckets_evenly():
    counts = np.bincount(cells.hashes(of(*map(str, range(64_000))))[:, 0] % 64)
    assert counts.min() > 800 and counts.max() < 1200


@pytest.mark.parametrize("format", [PLAIN, Format(decimal=",", missing=("-", "none"))], ids=["plain", "German"])
def test_a_category_is_the_code_that_tables_of_all_tasks_have(format):
    written = "5.0 5 5.00 -3.0 -3 5.5 .0 -.0 0.0 0 100 100.0 10.010 a.0 5.0.0 05.0 5. 5,0 - none 1e5".split()
    written += ["", "0"]
    expected = cells.hashes(of(*map(format.code, written)))
    assert cells.categories(of(*written, format=format)).tolist() == expected.tolist()


def test_integers_are_read_from_every_way_to_write_them():
    written = ["0", "7", "-3", "1382", "3.0", "1e3", "+5", "123456789012345678", "1" * 29, "", "NaN", "NA"]
    values, present = cells.integers(of(*written))
    expected = [0, 7, -3, 1382, 3, 1000, 5, float(123456789012345678), float("1" * 29), 0, 0, 0]
    assert values[:, 0].tolist() == expected
    assert present[:, 0].tolist() == [True] * 9 + [False] * 3


def test_integers_may_have_groups_of_digits_and_words_for_gaps():
    values, present = cells.integers(of("1.234", "12", "-", format=Format(decimal=",", thousands=".", missing=("-",))))
    assert (values[:, 0].tolist(), present[:, 0].tolist()) == ([1234, 12, 0], [True, True, False])


def test_a_number_that_stands_for_no_value_does_so_among_plain_digits():
    values, present = cells.integers(of("999", "7", "999.0", format=Format(missing=("999",))))
    assert (values[:, 0].tolist(), present[:, 0].tolist()) == ([0, 7, 0], [False, True, False])


@pytest.mark.parametrize("blank", ["\t", "\u00a0", "  "])
def test_blanks_of_every_kind_around_a_cell_are_none_of_it(tmp_path, blank):
    (tmp_path / "a.csv").write_text(f"3{blank},{blank}a\n", encoding="utf-8")
    assert texts(tmp_path / "a.csv") == [(1, ["3", "a"])]


@pytest.mark.parametrize("cell", ["abc", "-", "1-2", "12a", "inf", "0x10", ":", "1_000", "\uff15"])
def test_text_is_no_integer(cell):
    column = cells.replace(of("1", cell), names=["age"])
    with pytest.raises(InputError, match=r"^some.csv, row 3, column age: '.+' is no number$"):
        cells.integers(column)


@pytest.mark.parametrize("cell", ["0.15", "-3.5", "1e-3"])
def test_a_fraction_is_not_cut_off_but_refused_with_what_to_do(cell):
    column = cells.replace(of("1", cell), names=["score"])
    with pytest.raises(InputError, match=r"row 3, column score: '.+' has a fraction.*multiply.*--data.categories"):
        cells.integers(column)


def test_each_integer_has_the_code_whose_range_it_is_in():
    values = np.arange(3, 100_000)
    ranges = cells.ranges()
    for code, first, last in (
        (code, *np.array(ranges[code].replace(",", "").split(" to "), int)[[0, -1]])
        for code in np.unique(cells.codes(values, values > 0))[:-1]
    ):
        assert (cells.codes(np.array([first, last]), np.array([True, True])) == code).all()
        assert cells.codes(np.array(last + 1), np.array(True)) == code + 1


def test_small_integers_have_codes_of_their_own():
    values = np.array([-100, -6, -5, -1, 0, 1, 2, 0], float)
    found = cells.codes(values, np.array([True] * 7 + [False]))
    assert [cells.ranges()[code] for code in found] == ["< -5", "< -5", "-5", "-1", "0", "1", "2", ""]


def test_the_largest_integers_share_the_last_code():
    found = cells.codes(np.array([1e10, 1e300]), np.array([True, True]))
    assert found.tolist() == [cells.INTEGER_CODES - 1] * 2 and cells.ranges()[-1].startswith("from ")


# Metrics.


def histogram(logits, clicks):
    """What the metrics are computed from."""
    width = 2 * metrics.EXTENT / metrics.BINS
    bins = np.clip((logits + metrics.EXTENT) / width, 0, metrics.BINS - 1).astype(int)
    counts, predicted = np.zeros((2, metrics.BINS), int), np.zeros(metrics.BINS)
    np.add.at(counts, (clicks, bins), 1)
    np.add.at(predicted, bins, 1 / (1 + np.exp(-logits)))
    return counts, predicted


def share_of_pairs(logits, clicks):
    """The area under the curve by its definition."""
    a, b = logits[clicks == 1, None], logits[clicks == 0]
    return ((a > b) + (a == b) / 2).mean()


def scores(n=2000, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(-1.5, 2.0, n)
    return logits, (rng.random(n) < 1 / (1 + np.exp(-logits))).astype(int)


def test_auc_is_the_share_of_pairs_in_order():
    logits, clicks = scores()
    assert metrics.auc(histogram(logits, clicks)[0]) == pytest.approx(share_of_pairs(logits, clicks), abs=1e-4)


def test_equal_scores_count_half():
    logits, clicks = scores()
    logits = np.round(logits)
    assert metrics.auc(histogram(logits, clicks)[0]) == pytest.approx(share_of_pairs(logits, clicks), abs=1e-12)


def test_auc_of_one_kind_alone_is_unknown():
    assert np.isnan(metrics.auc(histogram(np.array([0.0, 1.0]), np.array([1, 1]))[0]))


def test_auc_counts_as_many_examples_as_there_may_be():
    """Pairs of 45 million examples overflow 32 bits, and 64 of them that are squared once more."""
    counts = np.zeros((2, metrics.BINS), np.int32)
    counts[:, 10] = 2_000_000_000
    assert metrics.auc(counts) == 0.5


def test_calibration_is_expected_over_observed_clicks():
    logits = np.log(np.array([0.2, 0.4, 0.6]) / np.array([0.8, 0.6, 0.4]))
    assert metrics.calibration(*histogram(logits, np.array([0, 1, 1]))) == pytest.approx(0.6)


def test_charts_draw_a_single_row():
    found = TASK.charts(
        {"scores": np.stack([*histogram(np.array([0.0]), np.array([1]))[0], np.ones(metrics.BINS)])}, {}
    )
    assert found["reliability_diagram"].dtype == np.uint8 and found["reliability_diagram"].shape[-1] == 3


# The embedded data.


def test_generated_data_are_the_same_always():
    a, b = (data.generate(1000)[0].arrays for _ in range(2))
    assert all((a[name] == b[name]).all() for name in a)


def test_values_of_generated_categories_do_not_share_buckets():
    fields = data.generate(20_000)[0].arrays["fields"]
    assert [len(np.unique(column % 256)) for column in fields.T[3:]] == list(data.VALUES)


# Criteo: train.txt with gaps, in order of time.


def criteo_lines(n, seed=0):
    """Rows of the upstream form: label, 13 integers, 26 values of 8 hexadecimal digits, tabs, no header."""
    rng = np.random.default_rng(seed)
    lines = []
    for _ in range(n):
        integers = ["" if rng.random() < 0.2 else str(int(np.exp(rng.normal(2, 2))) - 3) for _ in range(13)]
        categories = ["" if rng.random() < 0.1 else f"{rng.integers(20) * 0x9E3779B1 % 2**32:08x}" for _ in range(26)]
        lines.append("\t".join([str(int(rng.random() < 0.3)), *integers, *categories]))
    return lines


@pytest.fixture(scope="module")
def criteo(tmp_path_factory):
    """A folder that holds criteo/train.txt of 400 rows, to be read only but for its numbers."""
    root = tmp_path_factory.mktemp("criteo")
    (root / "criteo").mkdir()
    (root / "criteo" / "train.txt").write_bytes("".join(f"{line}\n" for line in criteo_lines(400)).encode())
    return root


def test_criteo_is_split_in_the_order_of_its_rows(criteo):
    found = load_data(settings("--data.name=criteo", f"--data.root={criteo}", "--data.test_fraction=0.2"))
    labels = np.array([int(line[0]) for line in criteo_lines(400)])
    parts = [split[np.arange(len(split))]["label"] for split in (found.train, found.val, found.test)]
    assert [len(part) for part in parts] == [280, 40, 80]
    assert (np.concatenate(parts) == labels).all()


def test_criteo_has_its_integers_before_its_categories(criteo):
    found = load_data(settings("--data.name=criteo", f"--data.root={criteo}"))
    row = criteo_lines(400)[0].split("\t")
    fields = found.train[np.arange(1)]["fields"][0]
    assert fields.shape == (39,) and fields.dtype == np.int32
    raw = raw_of(found)[0]
    assert [cells.ranges()[code] == "" for code in raw[:13]] == [cell == "" for cell in row[1:14]]
    assert raw[13:].tolist() == (cells.hashes(of(*row[14:]))[:, 0] % 64).tolist()


def raw_of(found):
    """The first training rows of a dataset, with the raw values that their numbers stand for."""
    known, fields = data.known_of(found.spec), found.train[np.arange(5)]["fields"]
    return np.stack([known.values(i)[column] for i, column in enumerate(fields.T)], 1)


def test_values_are_numbered_as_training_rows_have_them_and_others_have_the_number_after_the_last(tmp_path):
    rows = [[i % 2, 7, site] for i, site in enumerate(["a", "b", "a", ""] * 8 + ["c", "b"] * 4)]
    path = write_csv(tmp_path / "clicks.csv", rows, ["click", "age", "site"])
    options = ("--data.val_fraction=0.1", "--data.test_fraction=0.1", "--data.batch_size=4", "--data.buckets=4096")
    found = load_data(settings("--data.name=csv", f"--data.path={path}", *options))
    train, test = (part[np.arange(len(part))]["fields"] for part in (found.train, found.test))
    assert found.spec["sizes"] == [1, 3] and (len(train), len(test)) == (32, 4)
    assert not train[:, 0].any() and set(train[:, 1]) == {0, 1, 2}
    b = train[1, 1]
    assert test.tolist() == [[0, 3], [0, b], [0, 3], [0, b]]


def test_test_rows_that_stand_among_those_for_training_are_counted_by_what_stands_there(tmp_path):
    rows = [[i % 2, 1000 + i, "a"] for i in range(36)]
    rows += [[0, 1000, "a"], [1, 1001, "a"], [0, 1002, "b"], [1, 1002, "a"]]
    path = write_csv(tmp_path / "clicks.csv", rows, ["click", "age", "site"])
    found = load_data(settings("--data.name=csv", f"--data.path={path}", "--data.batch_size=4"))
    codes = [part[np.arange(len(part))]["fields"] for part in (found.train, found.test)]
    assert len(np.unique(codes[0], axis=0)) < 8  # what the model tells apart
    assert found.leaked() == 2


def test_a_column_that_is_always_the_same_is_named(tmp_path, capsys):
    path = write_csv(tmp_path / "clicks.csv", [[i % 2, 7, i] for i in range(40)], ["click", "age", "site"])
    load_data(settings("--data.name=csv", f"--data.path={path}", "--data.batch_size=4"))
    assert f"{path}: age: one value in every training row" in capsys.readouterr().err


def test_a_file_is_converted_once(criteo, monkeypatch):
    options = settings("--data.name=criteo", f"--data.root={criteo}")
    before = load_data(options).train[np.arange(5)]
    monkeypatch.setattr(data, "read_cells", None)
    after = load_data(options).train[np.arange(5)]
    assert all((before[name] == after[name]).all() for name in before)


def test_other_buckets_take_no_other_conversion(criteo, monkeypatch):
    load_data(settings("--data.name=criteo", f"--data.root={criteo}"))
    monkeypatch.setattr(data, "read_cells", None)
    load_data(settings("--data.name=criteo", f"--data.root={criteo}", "--data.buckets=1000"))


def test_numbers_can_lie_in_another_folder(criteo, tmp_path):
    load_data(settings("--data.name=criteo", f"--data.root={criteo}", f"--data.cache={tmp_path / 'cache'}"))
    made = sorted(path.name for path in (tmp_path / "cache").glob("converted-*/*"))
    assert made == ["bad.json", "digest", "fields", "keys", "label"]


def test_a_conversion_that_fails_leaves_nothing(criteo, tmp_path):
    (tmp_path / "bad.txt").write_text("\n".join([*criteo_lines(50), "2" + criteo_lines(1)[0][1:]]))
    line = refused("--data.name=criteo", f"--data.path={tmp_path / 'bad.txt'}")
    assert line == f"{tmp_path / 'bad.txt'}, row 51, column label: '2' is neither 0 nor 1"
    assert [path.name for path in tmp_path.iterdir()] == ["bad.txt"]


def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(cells, "BLOCK", 1 << 14)
    path = tmp_path / "train.txt"
    path.write_text("".join(f"{line}\n" for line in criteo_lines(200)) * 100)
    options = settings("--data.name=criteo", f"--data.path={path}")
    cells.hashes(of("a"))  # what is imported and kept for good
    tracemalloc.start()
    load_data(options)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3e6 < path.stat().st_size


def test_mapped_rows_are_those_of_the_file_in_any_order_and_number(criteo, monkeypatch):
    monkeypatch.setattr(data, "PIECE", 7)
    found = load_data(settings("--data.name=criteo", f"--data.root={criteo}"))
    order = np.random.default_rng(0).permutation(len(found.train))
    labels = np.array([int(line[0]) for line in criteo_lines(400)])
    assert (found.train[order]["label"] == labels[order]).all()
    batch = TrainBatches(found, 32, seed=0)[3]
    assert batch["fields"].shape == (32, 39) and batch["fields"].flags.writeable


def test_criteo_that_is_missing_says_where_it_belongs_and_comes_from(tmp_path):
    line = refused("--data.name=criteo", f"--data.root={tmp_path}")
    assert str(tmp_path / "criteo" / "train.txt") in line and "kaggle.com/c/criteo-display-ad-challenge" in line


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda row: row[:-1], "row 3: 39 columns, expected 40"),
        (lambda row: [*row, "x"], "row 3: 41 columns, expected 40"),
        (lambda row: ["", *row[1:]], "row 3, column label: '' is neither 0 nor 1"),
        (lambda row: [*row[:3], "abc", *row[4:]], "row 3, column I3: 'abc' is no number"),
        (lambda row: [*row[:-1], "a\udcff"], "row 3: byte 0xff is no UTF-8 text: save the file as UTF-8"),
    ],
    ids=["short", "long", "no label", "text in an integer", "no UTF-8"],
)
@pytest.mark.parametrize("block", [100, 1 << 19])
def test_a_bad_row_of_criteo_is_named(tmp_path, monkeypatch, change, what, block):
    monkeypatch.setattr(cells, "BLOCK", block)
    rows = [line.split("\t") for line in criteo_lines(6)]
    rows[2] = change(rows[2])
    path = tmp_path / "train.txt"
    path.write_bytes("".join("\t".join(row) + "\n" for row in rows).encode(errors="surrogateescape"))
    assert refused("--data.name=criteo", f"--data.path={path}") == f"{path}, {what}"


def test_an_empty_file_is_named(tmp_path):
    (tmp_path / "train.txt").write_text("")
    assert (
        refused("--data.name=criteo", f"--data.path={tmp_path / 'train.txt'}") == f"{tmp_path / 'train.txt'} is empty"
    )


def test_a_file_without_lines_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(cells, "BLOCK", 1000)
    monkeypatch.setattr(cells, "LONGEST", 5000)
    (tmp_path / "train.txt").write_bytes(b"x" * 100_000)
    assert "row 1: longer than 5,000 bytes" in refused("--data.name=criteo", f"--data.path={tmp_path / 'train.txt'}")


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--data.val_fraction=0"], "the validation split has no rows"),
        (["--data.test_fraction=0"], "the test split has no rows"),
        (["--data.val_fraction=0.6", "--data.test_fraction=0.5"], "the training split has no rows"),
        (["--data.val_fraction=0.0025"], "the validation split has "),
    ],
)
def test_a_split_without_both_outcomes_is_refused(criteo, options, what):
    assert what in refused("--data.name=criteo", f"--data.root={criteo}", *options)


# CSV.


def csv_lines(n, seed=0):
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        age, site = rng.integers(100), rng.choice(["a.org", "b,c.org", "Zürich", ""])
        rows.append([i, "" if age < 10 else age, site, int(rng.random() < 0.3), "x"])
    return rows


def write_csv(path, rows, header=("time", "age", "site", "click", "note")):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture(scope="module")
def clicks_csv(tmp_path_factory):
    """A file of 400 rows, to be read only."""
    return write_csv(tmp_path_factory.mktemp("csv") / "clicks.csv", csv_lines(400))


def test_columns_are_taken_as_what_stands_in_them(clicks_csv, capsys):
    found = load_data(settings("--data.name=csv", f"--data.path={clicks_csv}"))
    assert (found.spec["integers"], found.spec["categories"]) == (["time", "age"], ["site", "note"])
    assert "integers: time, age; categories: site, note" in capsys.readouterr().err


def test_columns_are_taken_as_what_is_said(clicks_csv):
    options = ("--data.integers=age", "--data.categories=site, time")
    found = load_data(settings("--data.name=csv", f"--data.path={clicks_csv}", *options))
    rows = csv_lines(400)[:5]
    assert found.spec["integers"] == ["age"] and found.spec["categories"] == ["site", "time"]
    expected = [(cells.hashes(of(*(str(row[i]) for row in rows)))[:, 0] % 64).tolist() for i in (2, 0)]
    assert raw_of(found).T[1:].tolist() == expected


def test_a_run_goes_on_with_the_columns_it_began_with(clicks_csv):
    options = settings("--data.name=csv", f"--data.path={clicks_csv}")
    begun = settings("--data.name=csv", f"--data.path={clicks_csv}", "--data.integers=age", "--data.categories=time")
    spec = load_data(begun).spec
    assert TASK.load(options, spec).spec == spec


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--data.label=clik"], " has no column 'clik': did you mean 'click'?"),
        (["--data.integers=age,sites"], " has no column 'sites': did you mean 'site'?"),
        (["--data.integers=age", "--data.categories=site,age"], "name the column 'age' 2 times"),
        (["--data.label=age"], ", row 2, column age: "),
        (["--data.integers=site"], ", column site: 'Zürich' is no number"),
    ],
)
def test_wrong_columns_are_named(clicks_csv, options, what):
    assert what in refused("--data.name=csv", f"--data.path={clicks_csv}", *options)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", " is empty"),
        ("click,site\n", " has no rows below the names of its columns"),
        ("click\n1\n", " has no column but 'click': there is nothing to predict from"),
        ("click,site,site\n1,a,b\n", " has 2 columns 'site': give each its own name"),
        ("click,site\n1,a\n0\n", ", row 3: 1 columns, expected 2"),
        ('click,site\n1,a\n0,"b\n', ", row 3: a quote that is not closed"),
        ("click,site\n1,a\nyes,b\n", ", row 3, column click: 'yes' is neither 0 nor 1"),
        ("click,site\n1.0,a\n0.5,b\n", ", row 3, column click: '0.5' is neither 0 nor 1"),
        ("click;site\n1;a\n", " has no column 'click': the first row is one cell with ';' in it: --data.delimiter ';'"),
        ("click;age\n1;1,5\n", ", row 2: 2 columns, expected 1: the first row is one cell with ';' in it: --data.del"),
        ("click,score\n1,0.5\n", ", row 2, column score: '0.5' has a fraction"),
    ],
)
def test_a_bad_csv_is_named(tmp_path, text, what):
    path = tmp_path / "clicks.csv"
    path.write_text(text)
    line = refused("--data.name=csv", f"--data.path={path}")
    assert line.startswith(f"{path}{what}") and (what[-1] != "'" or line == f"{path}{what}")


def test_columns_without_a_name_are_left_out_and_words_among_numbers_are_told(tmp_path, capsys):
    rows = [[i, i % 2, "n.a." if i % 9 == 0 else i, "xy"[i % 2]] for i in range(60)]
    path = write_csv(tmp_path / "clicks.csv", rows, ["", "click", "age", "site"])
    found = load_data(settings("--data.name=csv", f"--data.path={path}", "--data.batch_size=4"))
    assert (found.spec["integers"], found.spec["categories"]) == ([], ["age", "site"])
    said = capsys.readouterr().err
    assert "left out: 'Unnamed: 0', which has no name; if integers are meant, add --data.missing n.a. (age: num" in said
    words = ("--data.name=csv", f"--data.path={path}", "--data.batch_size=4", "--data.missing=n.a.")
    assert load_data(settings(*words)).spec["integers"] == ["age"]


def test_a_csv_that_is_missing_is_named_in_both_places(tmp_path):
    assert f"neither clicks.csv nor {tmp_path}" in refused("--data.name=csv", f"--data.root={tmp_path}")


def test_a_table_to_test_on_is_numbered_by_the_training_rows(clicks_csv, tmp_path):
    path = write_csv(tmp_path / "new.csv", [[1, 50, "a.org", 1, "x"], [2, 50, "new.org", 0, "x"]])
    options = ("--data.integers=age", "--data.categories=site", f"--data.test_path={path}")
    found = load_data(settings("--data.name=csv", f"--data.path={clicks_csv}", *options))
    assert [len(part) for part in (found.train, found.val, found.test)] == [360, 40, 2]
    a, new = found.test[np.arange(2)]["fields"]
    assert a[0] == new[0] and new[1] == found.spec["sizes"][1] > a[1]


# Runs: of each dataset a short one, which serves all tests below.

RUN = (*SMALL, *steps(4), "--data.batch_size=32", "--trainer.log_every=1", "--name=one")


@pytest.fixture(scope="module")
def runs(cli, framework, criteo, clicks_csv, tmp_path_factory):
    """The folder of a run by the name of its dataset; to be read only."""
    found = {}
    for name, options in {
        "generated": [],
        "criteo": [f"--data.root={criteo}"],
        "csv": [f"--data.path={clicks_csv}", "--data.integers=age", "--data.categories=site"],
    }.items():
        folder = tmp_path_factory.mktemp(f"{framework}-{name}")
        words = ("train", "click_prediction", "--framework", framework, *RUN, f"--data.name={name}", *options)
        outcome = cli(*words, f"--run_dir={folder}")
        assert outcome.code == 0, outcome.err
        found[name] = folder / "click_prediction" / "default" / framework / "one"
    return found


@pytest.mark.parametrize("name", ["generated", "criteo", "csv"])
def test_a_run_reports_every_metric(runs, name):
    values = read_result(runs[name])["metrics"]
    assert {tag.partition("/")[2] for tag in values} == {"loss", "log_loss", "auc", "calibration"}
    assert values["test/log_loss"] == values["test/loss"]


@pytest.mark.parametrize("name", ["generated", "criteo", "csv"])
def test_evaluate_gives_what_training_gave(cli, runs, name):
    outcome = cli("evaluate", runs[name])
    assert outcome.code == 0, outcome.err
    assert f"test/auc             {read_result(runs[name])['metrics']['test/auc']:.4f}" in outcome.out
    assert "| predicted | clicked | rows |" in outcome.out


def table(outcome):
    """The rows of a printed table."""
    assert outcome.code == 0, outcome.err
    lines = [line.split("  ") for line in outcome.out.splitlines()]
    assert [cell.strip() for cell in lines[0] if cell] == ["input", "probability"]
    return {line[0]: float(line[-1]) for line in lines[1:]}


@pytest.mark.parametrize("labelled", [True, False])
def test_predict_takes_rows_of_criteo_with_or_without_labels(cli, runs, tmp_path, labelled):
    lines = criteo_lines(5, seed=9)
    path = tmp_path / "test.txt"
    path.write_text("\n".join(line if labelled else line.partition("\t")[2] for line in lines))
    found = table(cli("predict", runs["criteo"], path))
    assert list(found) == [f"{path}:{i}" for i in range(1, 6)]
    assert all(0 < probability < 1 for probability in found.values())


def fields_of(path, spec):
    return TASK.inputs([path], spec).source.arrays["fields"].tolist()


def test_predict_does_not_look_at_labels(runs, tmp_path):
    lines, spec = criteo_lines(3, seed=9), read_spec(runs["criteo"])
    (tmp_path / "a.txt").write_text("\n".join(lines))
    (tmp_path / "b.txt").write_text("\n".join(line.partition("\t")[2] for line in lines))
    assert fields_of(tmp_path / "a.txt", spec) == fields_of(tmp_path / "b.txt", spec)


def test_predict_finds_the_columns_of_a_csv_by_their_names(runs, tmp_path):
    a = write_csv(tmp_path / "a.csv", [[30, "a.org"], ["", "new.org"]], ["age", "site"])
    b = write_csv(tmp_path / "b.csv", [["a.org", "?", 30], ["new.org", "?", ""]], ["site", "click", "age"])
    spec = read_spec(runs["csv"])
    assert fields_of(a, spec) == fields_of(b, spec)


def test_predict_takes_csv_files_and_rows_in_python(cli, runs, tmp_path):
    path = write_csv(tmp_path / "a.csv", [[30, "a.org"], ["", "new.org"]], ["age", "site"])
    found = table(cli("predict", runs["csv"], path))
    assert list(found) == [f"{path}:2", f"{path}:3"]
    predictor = Predictor(runs["csv"], registry.load_config(saved=read_config(runs["csv"])))
    rows = predictor.predict([{"age": 30, "site": "a.org"}, {"age": None, "site": "new.org", "more": 1}])
    assert [row["probability"] for row in rows] == pytest.approx(list(found.values()), abs=1e-4)


@pytest.mark.parametrize("gap", [None, float("nan"), np.float32("nan"), ""])
def test_what_is_missing_in_python_is_an_empty_cell_of_a_file(runs, tmp_path, gap):
    path = write_csv(tmp_path / "a.csv", [[30, ""], ["", "a.org"]], ["age", "site"])
    spec = read_spec(runs["csv"])
    rows = [{"age": 30, "site": gap}, {"age": gap, "site": "a.org"}]
    assert TASK.inputs(rows, spec).source.arrays["fields"].tolist() == fields_of(path, spec)


def test_bad_rows_to_predict_are_left_out_where_that_is_asked_for(runs):
    rows, spec, bad = [{"age": 30, "site": "a.org"}, {"age": "old", "site": "a.org"}], read_spec(runs["csv"]), Bad(True)
    assert list(TASK.inputs(rows, spec, bad).names) == ["0"]
    assert bad.first == ["inputs, row 1, column age: 'old' is no number"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("age,sit\n1,a\n", " has no column 'site': did you mean 'sit'?"),
        ("age,site\nold,a\n", ", row 2, column age: 'old' is no number"),
        ("age,site\n1\n", ", row 2: 1 columns, expected 2"),
        ("age,site\n", " has no rows below the names of its columns"),
        ("", " is empty"),
    ],
)
def test_predict_names_what_is_wrong_with_a_csv(runs, tmp_path, text, what):
    (tmp_path / "new.csv").write_text(text)
    with pytest.raises(InputError) as caught:
        TASK.inputs([tmp_path / "new.csv"], read_spec(runs["csv"]))
    assert str(caught.value) == f"{tmp_path / 'new.csv'}{what}"


def test_predict_names_a_row_of_criteo_with_too_few_columns(complaint, runs, project):
    (project / "rows.txt").write_text("1\t2\t3\n")
    line = complaint("predict", runs["criteo"], "rows.txt")
    assert line == "error: rows.txt, row 1: 3 columns, expected 40, or 39 without the label\n"


@pytest.mark.parametrize("given", [[], 5, [1], [{"age": 3}, "a.csv"], [{"age": 3}]])
def test_predict_says_what_it_takes(given):
    with pytest.raises(InputError, match="inputs"):
        TASK.inputs(given, {**data.GENERATED, "integers": ["age"], "categories": ["site"]})


def test_examples_show_probabilities_clicks_and_values(runs):
    options = registry.load_config(saved=read_config(runs["generated"]))
    dataset = load_data(options)
    batch = dataset.val[np.arange(3)]
    shown = TASK.examples(batch, {"logit": np.array([0.0, 2.0, -2.0])}, dataset.spec)["examples"].splitlines()
    assert shown[0].startswith("| probability | click | visits | age | price | weekday |") and len(shown) == 5
    assert shown[2].startswith(f"| 0.5000 | {batch['label'][0]} | ")


# The preset itself.


@pytest.mark.slow
def test_the_default_preset_comes_near_the_best_possible_and_above_logistic_regression(cli, framework, project):
    assert cli("train", "click_prediction", "--framework", framework, "--accelerator=cpu").code == 0
    [result] = project.glob("runs/**/result.json")
    found = read_result(result.parent)["metrics"]["test/auc"]
    assert found > 0.8533 - 0.01
    assert found > auc_of_logistic_regression() + 0.05


def auc_of_logistic_regression():
    """Of the one-hot fields, by Newton's method, on the first of the training rows: more change the third digit."""
    arrays = data.generate(200_000)[0].arrays
    columns = [np.unique(column, return_inverse=True)[1] for column in arrays["fields"].T]
    x = np.concatenate([np.eye(column.max() + 1, dtype=np.float32)[column] for column in columns], 1)
    train, test = slice(40_000), slice(180_000, None)
    w, y = np.zeros(x.shape[1]), arrays["label"]
    for _ in range(8):
        p = 1 / (1 + np.exp(-(x[train] @ w)))
        hessian = x[train].T @ (x[train] * (p * (1 - p))[:, None]) + np.eye(len(w))  # a weight's prior, as usual
        w -= np.linalg.solve(hessian, x[train].T @ (p - y[train]) + w)
    return metrics.auc(histogram(x[test] @ w, y[test])[0])
