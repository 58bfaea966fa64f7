import gzip
import json
from pathlib import Path

import pytest

from cellkin.indexer.genes.extras import read_extra_texts
from cellkin.wire.errors import InputFileError


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize(
    "content",
    [
        json.dumps({"INS": "Hormone.", "3630": 'The "A"\tchain.', "X": " "}),
        "\ufeff" + json.dumps({"INS": "Hormone.", "3630": 'The "A"\tchain.'}),
    ],
)
def test_json_is_read(tmp_path: Path, content: str, pack: type[bytes]) -> None:
    path = tmp_path / "f"
    path.write_bytes(pack(content.encode()))
    assert read_extra_texts(path) == {"INS": "Hormone.", "3630": 'The "A"\tchain.'}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_table_of_two_columns_is_read(tmp_path: Path, end: str) -> None:
    path = tmp_path / "f"
    path.write_bytes(end.join(['INS\tThe "hormone.', "", "GCG \t Ünknown", "X\t"]).encode())
    assert read_extra_texts(path) == {"INS": 'The "hormone.', "GCG": "Ünknown"}


def test_one_text_twice_is_no_matter(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("INS\tx\nINS\tx\n")
    assert read_extra_texts(path) == {"INS": "x"}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"INS\tx\nGCG\n", "line 2 has 1 tab-separated field; expected two, gene and text"),
        (b"INS\tx\ty\n", "line 1 has 3 tab-separated fields; expected two, gene and text"),
        (b"INS\tx\nINS\ty\n", "gene 'INS' has two different texts"),
        (b'{"INS": "x", "INS": "y"}', "gene 'INS' has two different texts"),
        (b'{"INS": 1}', "the value of 'INS' is no text; expected an object of gene: text"),
        (b'{"INS": {"a": "b"}}', "the value of 'INS' is no text; expected an object of gene: text"),
        (b'{"INS": "x"\n"GCG"}', "line 2 is no JSON: Expecting ',' delimiter"),
        (b"{}", "no gene has a text in it"),
        (b"INS\t \n", "no gene has a text in it"),
        (b"INS\t\xf6", "byte 4 is no UTF-8 text; convert the file to UTF-8"),
        (
            gzip.compress(b"INS\tx\n", mtime=0)[:-4],
            "the gzip data is damaged (it ends too early); download the file again",
        ),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "f"
    path.write_bytes(data)
    with pytest.raises(InputFileError) as raised:
        read_extra_texts(path)
    assert str(raised.value) == f"summaries file {path}: {said}"
