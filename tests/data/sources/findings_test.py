"""What is told of files that are no images."""

import csv

from dc_keras.data.sources.findings import Findings

FINDINGS = Findings(
    (("a.jxl", "JPEG XL"), ("b\n.txt", "text or other file"), ("c.jxl", "JPEG XL"), ("d", "PDF")),
    notes=("A note.",),
)


def test_nothing_found_is_nothing_to_tell():
    assert Findings().lines("somewhere") == []


def test_kinds_are_counted_in_one_line():
    assert FINDINGS.lines("run/passed_over.csv") == [
        "Passed over: 2 JPEG XL, 1 PDF, 1 text or other file (listed in run/passed_over.csv)",
        "A note.",
    ]


def test_the_list_holds_no_formulas(tmp_path):
    Findings((("=cmd|x.txt", "text or other file"),)).write(tmp_path / "passed_over.csv")
    assert "\n'=cmd|x.txt," in (tmp_path / "passed_over.csv").read_text()


def test_what_is_counted_is_the_first_word():
    found = Findings(passed_over=(("a", "file above 1 GiB"), ("b", "file above 1 GiB")))
    assert found.counts() == "2 files above 1 GiB"


def test_the_first_are_named_where_there_is_no_list():
    assert FINDINGS.lines()[0].endswith(" ('a.jxl', 'b\\n.txt', 'c.jxl' and others)")


def test_all_are_listed(tmp_path):
    FINDINGS.write(tmp_path / "passed_over.csv")
    with open(tmp_path / "passed_over.csv", newline="") as file:
        assert [tuple(row) for row in csv.reader(file)] == [
            ("path", "kind"),
            *FINDINGS.passed_over,
        ]
