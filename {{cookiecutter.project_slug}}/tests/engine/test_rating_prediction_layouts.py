"""Rating prediction on a miniature of every release of MovieLens, byte for byte as it is published."""

import hashlib
import json
import shutil
import zipfile

import numpy as np
import pytest
from helpers import load_data

from {{cookiecutter.package_name}} import load_config
from {{cookiecutter.package_name}}.engine.data.download import Remote
from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.engine.folder import read_config
from {{cookiecutter.package_name}}.tasks.rating_prediction import data

NAMES = list(data.RELEASES)
FOLDERS = {"ml_100k": "ml-100k", "ml_1m": "ml-1m", "ml_25m": "ml-25m", "ml_32m": "ml-32m"}
FILES = {
    "ml_100k": ("u.data", "u.item"),
    "ml_1m": ("ratings.dat", "movies.dat"),
    "ml_25m": ("ratings.csv", "movies.csv"),
    "ml_32m": ("ratings.csv", "movies.csv"),
}
# Of 9 users and 11 films, whose numbers have gaps: (user, film, stars, time).
PAIRS = [(user, film) for user in range(9) for film in range(11) if (user + film) % 5]
RATINGS = [(2 + 3 * u, 1 + 7 * f, 1 + (u + 2 * f) % 5, 874965758 + (37 * u + 53 * f) % 100) for u, f in PAIRS]
TITLES = {1 + 7 * f: f"Film {f} (1995)" for f in range(11)} | {
    8: "Misérables, Les (1995)",
    15: 'Léon: "The" Professional (1994)',
}
GENRES = {film: ["Comedy", "Drama", "Film-Noir"][: 1 + film % 3] for film in TITLES}


def write_100k(folder):
    """Tabs; bars, ISO 8859-1, and 19 genres, of which Comedy is number 5, Drama 8 and Film-Noir 10."""
    rows = [f"{user}\t{film}\t{stars}\t{time}\n" for user, film, stars, time in RATINGS]
    (folder / "u.data").write_bytes("".join(rows).encode("ascii"))
    movies = ""
    for film, title in TITLES.items():
        codes = [{"Comedy": 5, "Drama": 8, "Film-Noir": 10}[genre] for genre in GENRES[film]]
        flags = "|".join("1" if code in codes else "0" for code in range(19))
        movies += f"{film}|{title}|01-Jan-1995||http://us.imdb.com/M/title-exact?Film%20(1995)|{flags}\n"
    (folder / "u.item").write_bytes(movies.encode("iso-8859-1"))


def write_1m(folder):
    """Double colons, ISO 8859-1."""
    rows = [f"{user}::{film}::{stars}::{time}\n" for user, film, stars, time in RATINGS]
    (folder / "ratings.dat").write_bytes("".join(rows).encode("ascii"))
    movies = [f"{film}::{title}::{'|'.join(GENRES[film])}\n" for film, title in TITLES.items()]
    (folder / "movies.dat").write_bytes("".join(movies).encode("iso-8859-1"))


def write_csv(folder):
    """CSV in UTF-8 with a header; half stars; quotes only where they are needed."""
    rows = [f"{user},{film},{stars - 0.5},{time}\n" for user, film, stars, time in RATINGS]
    (folder / "ratings.csv").write_bytes(("userId,movieId,rating,timestamp\n" + "".join(rows)).encode("ascii"))
    movies = "movieId,title,genres\n"
    for film, title in TITLES.items():
        if "," in title or '"' in title:
            title = '"' + title.replace('"', '""') + '"'
        movies += f"{film},{title},{'|'.join(GENRES[film])}\n"
    (folder / "movies.csv").write_bytes(movies.encode("utf-8"))


WRITERS = {"ml_100k": write_100k, "ml_1m": write_1m, "ml_25m": write_csv, "ml_32m": write_csv}


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    """The folder that holds every release; to be read only."""
    folder = tmp_path_factory.mktemp("movielens")
    for name, writer in WRITERS.items():
        (folder / FOLDERS[name]).mkdir()
        writer(folder / FOLDERS[name])
    return folder


def options(name, root, *others):
    """Of a config that reads a release."""
    return [f"--data.name={name}", f"--data.root={root}", "--data.batch_size=16", *others]


def read(name, root, *others):
    return load_data(load_config("rating_prediction/ml_100k", options(name, root, *others)))


def refused(*args):
    with pytest.raises(InputError) as caught:
        read(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def rows(dataset, name):
    """(user, film, stars) of the parts of a dataset, as published."""
    users, films = (json.loads(dataset.spec[f"{key}s.json"]) for key in ("user", "item"))
    half = 0.5 if name in ("ml_25m", "ml_32m") else 0
    return [
        [
            (int(users[user]), int(films["item"][item]), int(stars + half))
            for user, item, stars in zip(*part[np.arange(len(part))].values(), strict=True)
        ]
        for part in (dataset.train, dataset.val, dataset.test)
    ]


@pytest.mark.parametrize("name", NAMES)
def test_every_rating_is_read(root, name):
    assert sorted(sum(rows(read(name, root), name), [])) == sorted(rating[:3] for rating in RATINGS)


@pytest.mark.parametrize("name", NAMES)
def test_the_latest_ratings_are_the_test(root, name):
    time = {rating[:2]: rating[3] for rating in RATINGS}
    parts = rows(read(name, root, "--data.split=time"), name)
    train, val, test = ([time[row[:2]] for row in part] for part in parts)
    assert max(train) <= min(val) and max(val) <= min(test)


@pytest.mark.parametrize("name", NAMES)
def test_films_have_their_titles_and_genres(root, name):
    found = json.loads(read(name, root).spec["items.json"])
    films = list(map(int, found["item"]))
    assert len(films) == 11
    assert found["title"] == [TITLES[film] for film in films]
    assert found["genres"] == ["|".join(GENRES[film]) for film in films]


def test_a_film_without_genres_has_none(root, tmp_path):
    shutil.copytree(root / "ml-25m", tmp_path / "ml-25m")
    path = tmp_path / "ml-25m/movies.csv"
    path.write_text("movieId,title,genres\n" + "".join(f"{film},A,(no genres listed)\n" for film in TITLES))
    assert set(json.loads(read("ml_25m", tmp_path).spec["items.json"])["genres"]) == {""}


@pytest.mark.parametrize("name", NAMES)
def test_large_files_are_read_block_by_block(root, name, monkeypatch):
    expected = read(name, root).train.arrays
    monkeypatch.setattr(data, "BLOCK", 50)
    found = read(name, root).train.arrays
    assert all(np.array_equal(found[key], expected[key]) for key in expected)


# Archives.


def archive(root, name, path):
    with zipfile.ZipFile(path, "w") as packed:
        packed.mkdir(FOLDERS[name])
        for file in FILES[name]:
            packed.write(root / FOLDERS[name] / file, f"{FOLDERS[name]}/{file}")
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", NAMES)
def test_a_release_is_downloaded_and_unpacked_where_that_is_asked_for(root, name, tmp_path, monkeypatch):
    release = data.RELEASES[name]
    path = tmp_path / release.archive.name
    remote = Remote(path.name, path.as_uri(), archive(root, name, path))
    monkeypatch.setitem(data.RELEASES, name, release._replace(archive=remote))
    found = read(name, tmp_path / "data", "--data.download=true")
    assert len(found.train) == len(read(name, root).train)
    assert {file.name for file in (tmp_path / "data").iterdir()} == {path.name, FOLDERS[name]}


def test_an_archive_with_another_checksum_is_not_unpacked(root, tmp_path):
    archive(root, "ml_1m", tmp_path / "ml-1m.zip")
    assert "ml-1m.zip has md5" in refused("ml_1m", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["ml-1m.zip"]
    assert len(read("ml_1m", tmp_path, "--data.verify=false").train)


@pytest.mark.parametrize("name", NAMES)
def test_a_release_that_is_missing_names_its_files_and_source(name, tmp_path):
    line = refused(name, tmp_path)
    assert all(f"{FOLDERS[name]}/{file}" in line for file in FILES[name])
    assert f"https://files.grouplens.org/datasets/movielens/{FOLDERS[name]}.zip" in line


# Broken files.


DELIMITERS = {"ml_100k": "\t", "ml_1m": "::", "ml_25m": ","}


@pytest.mark.parametrize("cell", ["good", "", "inf", "1_0", "0x5", "1e31", "--5", "\u00b2"])
@pytest.mark.parametrize("name", DELIMITERS)
def test_a_cell_that_is_no_number_is_told_with_file_row_and_column(root, tmp_path, name, cell):
    path = broken(root, tmp_path, name, 6, "2", "8", cell, "874965758")
    cell = cell.encode().decode("latin-1")  # as the files are
    assert refused(name, tmp_path) == f"{path}, row 6, column rating: {cell!r} is no number"


@pytest.mark.parametrize("name", DELIMITERS)
def test_a_row_of_another_length_is_told(root, tmp_path, name):
    path = broken(root, tmp_path, name, 5, "2", "8", "3")
    assert refused(name, tmp_path) == f"{path}, row 5: 3 columns, expected 4"


@pytest.mark.parametrize("name", DELIMITERS)
def test_a_broken_row_far_down_is_told_with_its_number(root, tmp_path, name, monkeypatch):
    monkeypatch.setattr(data, "BLOCK", 50)
    path = broken(root, tmp_path, name, 60, "2", "8.5", "3", "874965758")
    assert refused(name, tmp_path) == f"{path}, row 60, column movieId: '8.5' is no number"


@pytest.mark.parametrize("name", DELIMITERS)
@pytest.mark.parametrize("cell", ["1_000", "2.0", "9" * 12])
def test_a_number_of_a_film_is_a_number_to_everyone(root, tmp_path, name, cell):
    path = broken(root, tmp_path, name, 6, "2", cell, "3", "874965758")
    assert refused(name, tmp_path) == f"{path}, row 6, column movieId: {cell!r} is no number"


def test_films_of_another_release_are_told(root, tmp_path):
    shutil.copytree(root / "ml-25m", tmp_path / "ml-25m")
    (tmp_path / "ml-25m/movies.csv").write_text("movieId,title,genres\n999,A,\n")
    line = refused("ml_25m", tmp_path)
    assert "movies.csv: none of its items, as '999', is one of those in" in line and "ratings.csv" in line


def test_a_genre_that_is_neither_0_nor_1_is_told(root, tmp_path):
    shutil.copytree(root / "ml-100k", tmp_path / "ml-100k")
    path = tmp_path / "ml-100k/u.item"
    path.write_bytes(path.read_bytes().replace(b"|1", b"|x", 1))
    assert f"{path}, row 1: a genre is 'x', expected 0 or 1" in refused("ml_100k", tmp_path)


def test_options_that_the_data_lack_are_not_advised(root, tmp_path, capsys):
    shutil.copytree(root / "ml-25m", tmp_path / "ml-25m")
    with (tmp_path / "ml-25m/movies.csv").open("a") as file:
        file.write('999,"A,\n998",B\n')
    read("ml_25m", tmp_path)
    line = capsys.readouterr().err
    assert "row 13: a quoted cell goes over 2 lines" in line and "--data" not in line


@pytest.mark.parametrize("name", DELIMITERS)
def test_an_empty_file_is_told(root, tmp_path, name):
    path = broken(root, tmp_path, name, 1)
    path.write_bytes(b"userId,movieId,rating,timestamp\n" if name == "ml_25m" else b"")
    assert refused(name, tmp_path) == f"{path} has no ratings"


def test_another_header_is_told(root, tmp_path):
    path = broken(root, tmp_path, "ml_25m", 1, "user", "item", "rating", "time")
    assert refused("ml_25m", tmp_path).startswith(f"{path}, row 1: 'user,item,rating,time', expected 'userId,")


def test_a_film_of_another_length_is_told(root, tmp_path):
    shutil.copytree(root / "ml-1m", tmp_path / "ml-1m")
    (tmp_path / "ml-1m/movies.dat").write_bytes(b"1::One::Drama\n2::Two\n")
    assert "movies.dat, row 2: 2 columns, expected 3" in refused("ml_1m", tmp_path)


def broken(root, tmp_path, name, row, *cells):
    """A copy of a release in which a row of the ratings has other cells. Returns the file's path."""
    shutil.copytree(root / FOLDERS[name], tmp_path / FOLDERS[name])
    path = tmp_path / FOLDERS[name] / FILES[name][0]
    lines = path.read_bytes().splitlines(keepends=True)
    lines[row - 1] = f"{DELIMITERS[name].join(cells)}\n".encode()
    path.write_bytes(b"".join(lines))
    return path


# Every release, and a table of one's own, from training to prediction.


@pytest.fixture(scope="module", params=[*NAMES, "csv"])
def trained(request, root, framework, cli, tmp_path_factory):
    """(the name of the dataset, a run on it)."""
    name, run_dir = request.param, tmp_path_factory.mktemp("runs")
    words = options(name, root, "--accelerator=cpu", "--debug=fast", f"--run_dir={run_dir}", "--model.width=4")
    if name == "csv":
        words += [f"--data.path={root}/ml-25m/ratings.csv", "--data.user=userId", "--data.item=movieId"]
        words += ["--data.titles=ml-25m/movies.csv", "--data.time=timestamp", "--data.split=time"]
    preset = {"ml_32m": "ml_25m"}.get(name, name)
    done = cli("train", f"rating_prediction/{preset}", "--framework", framework, "--name=one", *words)
    assert done.code == 0, done.err
    return name, run_dir / "rating_prediction" / preset / framework / "one"


def test_a_run_is_evaluated(trained, cli):
    done = cli("evaluate", trained[1])
    assert done.code == 0 and "test/rmse" in done.out, done.err


def test_a_run_lists_films_for_a_user_that_they_have_not_rated(trained, cli):
    name, folder = trained
    done = cli("predict", folder, 5, "--top", "20", "--output", folder / "best.csv")
    assert done.code == 0, done.err
    rated = {film for user, film, *_ in rows(load_data(load_config(saved=read_config(folder))), name)[0] if user == 5}
    found = [line.split(",", 4) for line in (folder / "best.csv").read_text(encoding="utf-8").splitlines()[1:]]
    assert {int(cells[2]) for cells in found} == set(TITLES) - rated
