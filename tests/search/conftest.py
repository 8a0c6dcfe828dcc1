import pytest

from .cases import make_case


@pytest.fixture(scope="session")
def cases(tmp_path_factory):
    made = {}

    def get(name):
        if name not in made:
            made[name] = make_case(name, tmp_path_factory.mktemp("case"))
        return made[name]

    return get
