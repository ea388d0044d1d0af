from {{cookiecutter.package_name}}.engine.cli import main

if __name__ == "__main__":
    raise SystemExit(main("train"))
