import pytest


def test_the_example_runs(cli, atlas, monkeypatch):
    """The command opens the browser at the address that the server tells it."""
    import webbrowser

    from satclip_index.app import _server

    opened, asked = [], {}

    def until_it_is_ready(opened_atlas, ready, **options):
        asked.update(options, path=opened_atlas.path)
        ready("http://localhost:5006/")

    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.setattr(_server, "serve_map", until_it_is_ready)
    done = cli("serve", "--atlas", atlas.path, "--open")
    assert done.returncode == 0
    assert (done.stdout, done.stderr) == ("", "Map: http://localhost:5006/ (stop with Ctrl-C)\n")
    assert opened == ["http://localhost:5006/"]
    assert asked == {
        "path": atlas.path,
        "name": str(atlas.path),
        "host": "127.0.0.1",
        "port": 5006,
        "allow_origins": [],
    }


def test_without_bokeh_the_error_says_how_to_install_it(run_python, atlas):
    program = "import sys; sys.modules['bokeh'] = None; from satclip_cli.main import main; main()"
    done = run_python(program, "serve", "--atlas", atlas.path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "pip install 'satclip-index[map]'" in done.stderr


@pytest.mark.parametrize("origin", ["*", "http://maps.example.org", "maps.example.org:http", ""])
def test_an_origin_that_is_none_is_refused(cli, atlas, origin):
    done = cli("serve", "--atlas", atlas.path, "--allow-origin", origin)
    assert done.returncode == 1
    assert "expected HOST:PORT" in done.stderr


def test_an_address_that_is_not_this_machines_is_refused(process, atlas):
    done = process("serve", "--atlas", atlas.path, "--host", "192.0.2.1", "--port", 0)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: 192.0.2.1:0 cannot be used (")


def test_without_an_atlas_it_says_how_to_build_one(cli):
    done = cli("serve", "--atlas", "nowhere")
    assert done.returncode == 1
    assert "satclip-index build --atlas nowhere" in done.stderr


def test_a_port_out_of_range_is_a_usage_error(cli):
    assert cli("serve", "--port", 70_000).returncode == 2
