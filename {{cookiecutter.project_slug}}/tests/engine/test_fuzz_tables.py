"""Damaged tables: they are read, or refused by one line, and nothing else."""

from hostile import QUICK, check_damaged, tries

from {{cookiecutter.package_name}}.engine.data import tables

TABLE = "name,value\n" + "".join(f'"a {i}",{i}\n' for i in range(9))


@tries(QUICK, 500)
def test_a_damaged_table_is_read_or_refused(tmp_path, count):
    check_damaged(tmp_path / "file.csv", TABLE.encode(), lambda path: tables.read_table(path).numbers("value"), count)
