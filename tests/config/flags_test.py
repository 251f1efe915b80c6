"""How flags are declared, parsed, bounded and repeated, with settings that are made up."""

import dataclasses
import math
import operator
import pwd
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dc_keras.config.evaluation import EvaluationConfig
from dc_keras.config.flags import (
    Config,
    argument,
    describe_bounds,
    exit_with_input_error,
    flag,
    is_within,
    preset_as_flagfile,
)
from dc_keras.config.programs import (
    AssignConfig,
    ConvertConfig,
    ExportConfig,
    PackConfig,
)
from dc_keras.config.training import TrainingConfig
from dc_keras.errors import InputError
from repository import REPOSITORY

FLAGFILES = sorted((REPOSITORY / "configs").glob("*.cfg"))
PRESETS = [path for path in FLAGFILES if not path.stem.startswith("evaluate_")]
OF_EVALUATION = [path for path in FLAGFILES if path not in PRESETS]
COMPARISONS = {
    "at least": operator.ge,
    "above": operator.gt,
    "at most": operator.le,
    "below": operator.lt,
}
BOUNDS = st.fixed_dictionaries(
    {}, optional={name.replace(" ", "_"): st.integers(-9, 9) for name in COMPARISONS}
)
# Numbers that meet bounds, those beside them, and any others.
NUMBERS = (
    st.integers(-10, 10)
    | st.integers(-9, 9).flatmap(
        lambda bound: st.sampled_from(
            [math.nextafter(bound, math.inf), math.nextafter(bound, -math.inf)]
        )
    )
    | st.floats(allow_nan=False, allow_infinity=False)
)


@dataclasses.dataclass(frozen=True)
class Settings(Config):
    """Of a program that is made up."""

    REMOVED = {"old": "0.0", "older": "false"}

    source: str = argument("IN", "What to read.")
    out: str = flag("", "What to write.", required=True)
    kind: str = flag("red", "A colour.", choices=("red", "blue"))
    steps: int = flag(100, "Some steps.", at_least=1)
    rate: float = flag(0.5, "A rate.", above=0, at_most=1)
    loud: bool = flag(False, "Whether to shout.")


def parsed(*arguments):
    return Settings.from_arguments([*arguments])


@given(NUMBERS, BOUNDS)
def test_a_number_is_within_bounds_where_their_words_hold(value, bounds):
    holds = [
        COMPARISONS[words](value, int(bound))
        for words, bound in (
            part.rsplit(" ", 1) for part in filter(None, describe_bounds(bounds).split(" and "))
        )
    ]
    assert len(holds) == len(bounds)
    assert is_within(value, bounds) == all(holds)


@given(st.sampled_from([math.nan, math.inf, -math.inf]), BOUNDS)
def test_what_is_no_finite_number_is_never_within_bounds(value, bounds):
    assert not is_within(value, bounds)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("~/x", "/home/me/x"),
        ("~", "/home/me"),
        ("~root/x", f"{pwd.getpwnam('root').pw_dir}/x"),
        ("~no_such_user/x", "~no_such_user/x"),
        ("./~/x", "./~/x"),
        ("gs://bucket/~/x", "gs://bucket/~/x"),
        ("$HOME/x", "$HOME/x"),
    ],
)
def test_a_tilde_is_the_home_folder(monkeypatch, tmp_path, given, meant):
    """On the command line and in flagfiles, in flags and in arguments."""
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setattr("pwd.getpwnam", {"root": types.SimpleNamespace(pw_dir="/root")}.__getitem__)
    (tmp_path / "flags.cfg").write_text(f"--out={given}\n")
    assert parsed(given, f"--out={given}") == Settings(source=meant, out=meant)
    assert parsed(f"--flagfile={tmp_path}/flags.cfg").out == meant


@pytest.mark.parametrize(
    "config",
    [TrainingConfig, EvaluationConfig, ExportConfig, AssignConfig, PackConfig, ConvertConfig],
)
def test_every_program_knows_the_home_folder(monkeypatch, config):
    monkeypatch.setenv("HOME", "/home/me")
    paths = {
        field.name: field.metadata.get("argument")
        for field in dataclasses.fields(config)
        if field.name in ("run_dir", "data_dir", "test_dir", "resume", "source", "out", "labels")
    }
    arguments = ["~/x" if argument else f"--{name}=~/x" for name, argument in paths.items()]
    parsed = config.from_arguments(arguments)
    assert paths and {getattr(parsed, name) for name in paths} == {"/home/me/x"}


def test_a_home_folder_that_is_not_known_is_no_folder_by_its_sign(monkeypatch):
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    with pytest.raises(InputError, match="home folder is not known. Received: --out=~/x"):
        parsed("--out=~/x")


def test_a_flag_out_of_its_bounds_is_told_in_their_words():
    config = parsed("in", "--out=o", "--steps=0", "--rate=1.5")
    assert config.out_of_bounds() == [
        "Invalid --steps. Received: 0. Expected at least 1.",
        "Invalid --rate. Received: 1.5. Expected above 0 and at most 1.",
    ]
    assert parsed("in", "--steps=1", "--rate=1").out_of_bounds() == []


def test_all_problems_are_told_at_once_what_is_missing_first():
    with pytest.raises(InputError) as error:
        parsed("--steps=0", "--rate=nan").validate()
    missing, *others = str(error.value).splitlines()
    assert missing == "IN and --out must be given."
    assert [line.split(".")[0] for line in others] == ["Invalid --steps", "Invalid --rate"]


@pytest.mark.parametrize(
    "arguments",
    [["in", "--out=o", "--loud"], ["--out=o", "in", "--loud"], ["--out=o", "--loud", "in"]],
)
def test_flags_may_stand_before_and_behind_arguments(arguments):
    assert parsed(*arguments) == Settings(source="in", out="o", loud=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nonsense=1"], "Unknown command line flag 'nonsense'.*Use --help"),
        (["--step=5"], "Did you mean: steps"),
        (["--steps=many"], "steps"),
        (["--kind=green"], "kind"),
        (["in", "more", "most"], "not flags. Received: more most. Expected only IN --name=value"),
        (["--flagfile=no/such/file.cfg"], "no/such/file.cfg"),
    ],
)
def test_what_cannot_be_parsed(arguments, message):
    with pytest.raises(InputError, match=message):
        parsed(*arguments)


def test_a_flagfile_that_is_no_text(tmp_path):
    (tmp_path / "flags.cfg").write_bytes(b"--out=\xff")
    with pytest.raises(InputError, match="utf-8.*Use --help"):
        parsed(f"--flagfile={tmp_path}/flags.cfg")


def test_flags_after_a_flagfile_win(tmp_path):
    (tmp_path / "a.cfg").write_text("# a comment\n--steps=7\n--rate=0.25\n")
    config = parsed(f"--flagfile={tmp_path}/a.cfg", "--steps=9")
    assert (config.steps, config.rate) == (9, 0.25)


@given(
    kind=st.sampled_from(["red", "blue"]),
    steps=st.integers(-(2**60), 2**60),
    rate=st.floats(allow_nan=False),
    loud=st.booleans(),
)
def test_a_flagfile_of_settings_repeats_them(tmp_path_factory, kind, steps, rate, loud):
    @dataclasses.dataclass(frozen=True)
    class Flags(Config):
        kind: str = Settings.__dataclass_fields__["kind"]
        steps: int = flag(100, "Some steps.")
        rate: float = flag(0.5, "A rate.")
        loud: bool = flag(True, "Whether to shout.")

    config = Flags(kind=kind, steps=steps, rate=rate, loud=loud)
    path = tmp_path_factory.getbasetemp() / "repeated.cfg"
    path.write_text(config.to_flagfile())
    assert Flags.from_arguments([f"--flagfile={path}"]) == config


@pytest.mark.parametrize("value", ["0", "0.0", "0e3"])
def test_a_removed_number_that_had_no_effect_is_read(value):
    assert parsed(f"--old={value}", "--steps=3") == parsed("--steps=3")


@pytest.mark.parametrize("value", ["false", "False", "FALSE"])
def test_a_removed_switch_that_had_no_effect_is_read(value):
    assert parsed(f"--older={value}", "--steps=3") == parsed("--steps=3")


@pytest.mark.parametrize("flag", ["--old=0.1", "--old=-1", "--old=no", "--older=true"])
def test_a_removed_flag_with_an_effect_is_refused(flag):
    name = flag.partition("=")[0]
    with pytest.raises(
        InputError,
        match=f"^The flag {name} was taken out.*Received: {flag}. Leave it out.*new --run_dir",
    ):
        parsed(flag)


def test_removed_flags_are_not_written_any_more():
    assert "old" not in parsed("--old=0").to_flagfile()


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_a_preset_is_the_flagfile_of_its_name(path):
    more = "--run_dir=r"
    preset = TrainingConfig.from_arguments([f"--preset={path.stem}", more])
    assert preset == TrainingConfig.from_arguments([f"--flagfile={path}", more])


@pytest.mark.parametrize("path", OF_EVALUATION, ids=lambda path: path.stem)
def test_evaluation_has_presets_of_its_own(path):
    preset = EvaluationConfig.from_arguments([f"--preset={path.stem}"])
    assert preset == EvaluationConfig.from_arguments([f"--flagfile={path}"])
    assert not preset.problems()
    with pytest.raises(InputError, match="no such preset"):
        TrainingConfig.from_arguments([f"--preset={path.stem}"])


def test_flags_after_a_preset_win():
    config = TrainingConfig.from_arguments(["--preset=quickstart", "--epochs=3"])
    assert config.epochs == 3 != TrainingConfig.from_arguments(["--preset=quickstart"]).epochs


def test_an_unknown_preset_lists_those_there_are():
    names = ", ".join(path.stem for path in PRESETS)
    with pytest.raises(InputError, match=f"Received: --preset=best. Expected one of: {names}[.]$"):
        TrainingConfig.from_arguments(["--preset=best"])


def test_only_presets_are_turned_into_flagfiles():
    assert preset_as_flagfile("--presets=quickstart") == "--presets=quickstart"
    assert preset_as_flagfile("quickstart") == "quickstart"


def test_errors_show_names_and_send_no_commands(capsys):
    with pytest.raises(SystemExit) as ended:
        exit_with_input_error(InputError("Received:\n  a\x1b[2J.png\n  b\udcff.png"))
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith("Received:\n  a\\x1b[2J.png\n  b\\udcff.png\n")
