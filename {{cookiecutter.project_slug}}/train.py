# PYTHON_ARGCOMPLETE_OK
from {{cookiecutter.package_name}}.engine.commands import main

if __name__ == "__main__":
    raise SystemExit(main("train"))
