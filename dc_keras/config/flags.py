"""How a program's settings are declared, parsed and checked.

Each program has one frozen dataclass, whose fields are its flags. What a flag may be stands where
it is declared:

    steps: int = flag(100, "Training steps.", at_least=1)

`parser(TrainingConfig)` makes what `absl.app.run` needs: flags in, a validated config out.
Everything else in the package takes plain arguments.
"""

import dataclasses
import io
import math
import os
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NoReturn, Self, TypeVar

from absl import flags

from dc_keras.errors import InputError
from dc_keras.process import printable

Settings = TypeVar("Settings", bound="Config")

# Where installed presets are, and where they are in a clone.
_PRESET_FOLDERS = (
    pathlib.Path(__file__).parent.parent / "presets",
    pathlib.Path(__file__).parent.parent.parent / "configs",
)
# What the names of presets begin with that are not train.py's.
_BEGINNINGS = {"evaluate_"}


def flag(
    default: Any,
    help_text: str,
    *,
    choices: Sequence[str] = (),
    required: bool = False,
    may_change: bool = False,
    **bounds: float,
) -> Any:
    """A dataclass field that is also a flag.

    Args:
        default: Its value when it is not given.
        help_text: What `--help` says.
        choices: The values it may have; any for none.
        required: Whether it must be given.
        may_change: Whether it may differ when a run goes on: it does not change what is computed,
            or lengthens it.
        **bounds: Some of `at_least`, `above`, `at_most` and `below`.
    """
    return dataclasses.field(
        default=default,
        metadata={
            "help": help_text,
            "choices": tuple(choices),
            "required": required,
            "may_change": may_change,
            "bounds": bounds,
        },
    )


def argument(name: str, help_text: str) -> Any:
    """A dataclass field that is an argument of the program, by its place and not by its name."""
    return dataclasses.field(default="", metadata={"argument": name, "help": help_text})


def listed(names: str) -> tuple[str, ...]:
    """Names that are separated by commas, in order, each once."""
    return tuple(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))


def is_within(value: float, bounds: Mapping[str, float]) -> bool:
    """Whether a number keeps to all bounds; NaN and infinity never do.

    >>> is_within(0.5, {"above": 0, "at_most": 1})
    True
    >>> is_within(float("nan"), {"at_least": 0})
    False
    """
    holds = {
        "at_least": lambda bound: value >= bound,
        "above": lambda bound: value > bound,
        "at_most": lambda bound: value <= bound,
        "below": lambda bound: value < bound,
    }
    return math.isfinite(value) and all(holds[name](bound) for name, bound in bounds.items())


def describe_bounds(bounds: Mapping[str, float]) -> str:
    """Bounds in words.

    >>> describe_bounds({"above": 0, "at_most": 1})
    'above 0 and at most 1'
    """
    parts = [f"{name.replace('_', ' ')} {bound:g}" for name, bound in bounds.items()]
    return " and ".join(parts)


@dataclasses.dataclass(frozen=True)
class Config:
    """What the programs' settings have in common: flags, flagfiles, validation."""

    # Flags that were taken out, with the value at which they had no effect: flagfiles that still
    # name them are read as long as they ask for nothing else.
    REMOVED: ClassVar[Mapping[str, str]] = {}
    # What the names of its presets begin with.
    PRESETS: ClassVar[str] = ""

    @classmethod
    def define_flags(cls, flag_values: flags.FlagValues) -> None:
        """Defines one flag for each field, unless it is defined already."""
        for field in dataclasses.fields(cls):
            if field.name in flag_values or "argument" in field.metadata:
                continue
            define: dict[Any, Callable] = {
                int: flags.DEFINE_integer,
                float: flags.DEFINE_float,
                bool: flags.DEFINE_boolean,
                str: flags.DEFINE_string,
            }
            arguments = [field.name, field.default, field.metadata["help"]]
            keywords = {"flag_values": flag_values}
            if field.metadata["choices"]:
                arguments.insert(2, list(field.metadata["choices"]))
                flags.DEFINE_enum(*arguments, **keywords)
            else:
                define[field.type](*arguments, **keywords)
            # --help lists the key flags of the program that was started.
            flag_values.register_key_flag_for_module(sys.argv[0], flag_values[field.name])
        for name in cls.REMOVED:
            if name not in flag_values:
                flags.DEFINE_string(name, None, "Taken out.", flag_values=flag_values)

    @classmethod
    def from_arguments(cls, arguments: Sequence[str]) -> Self:
        """Parses command-line arguments, without touching absl's global flags.

        Args:
            arguments: Such as `["--flagfile=run/flags.cfg", "--epochs=3"]`.

        Raises:
            InputError: If a flag is unknown or malformed.
        """
        flag_values = flags.FlagValues()
        flags.DEFINE_string("flagfile", "", "A file of flags.", flag_values=flag_values)
        cls.define_flags(flag_values)
        return cls.parse(flag_values, ["", *arguments])

    @classmethod
    def parse(cls, flag_values: flags.FlagValues, argv: Sequence[str]) -> Self:
        """Parses a command line with flags that are defined already.

        Args:
            flag_values: What `define_flags` was given.
            argv: The program and its arguments.

        Raises:
            InputError: In place of what absl raises.
        """
        # Flags may also stand behind arguments.
        flag_values.set_gnu_getopt()
        try:
            rest = flag_values(
                [argv[0], *(preset_as_flagfile(text, cls.PRESETS) for text in argv[1:])]
            )[1:]
        except (flags.Error, OSError, UnicodeDecodeError) as error:
            raise InputError(f"{error} Use --help to see the flags.") from error
        fields = dataclasses.fields(cls)
        arguments = [field for field in fields if "argument" in field.metadata]
        if len(rest) > len(arguments):
            names = "".join(f"{field.metadata['argument']} " for field in arguments)
            raise InputError(
                f"Arguments that are not flags. Received: {' '.join(rest[len(arguments) :])}. "
                f"Expected only {names}--name=value (in a flagfile, one on each line)."
            )
        values = {f.name: flag_values[f.name].value for f in fields if f not in arguments}
        # Missing arguments are missed with the required flags.
        values |= {field.name: value for field, value in zip(arguments, rest, strict=False)}
        values = {name: _with_home(name, value) for name, value in values.items()}
        given = {name for name in values if name in flag_values and flag_values[name].present}
        config = cls(**cls.completed(values, frozenset(given)))
        config._check_removed({name: flag_values[name].value for name in cls.REMOVED})
        return config

    def had_no_effect(self, name: str, value: str) -> bool:
        """Whether a flag that was taken out asks, beside these, for what is done without it."""
        return _is_same(value, self.REMOVED[name])

    def _check_removed(self, values: Mapping[str, str | None]) -> None:
        for name, value in values.items():
            if value is not None and not self.had_no_effect(name, value):
                raise InputError(
                    f"The flag --{name} was taken out, since it did not help (docs/decisions.md). "
                    f"Received: --{name}={value}. Leave it out. A run that was started with it "
                    "cannot go on: start a new --run_dir."
                )

    @classmethod
    def completed(cls, values: dict[str, Any], given: frozenset[str]) -> dict[str, Any]:
        """All values, with those of flags that were not given as they follow from others.

        Args:
            values: By name, defaults among them.
            given: The names that were given, on the command line or in a flagfile.
        """
        return values

    def to_flagfile(self) -> str:
        """The settings as a flagfile that repeats them."""
        lines = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool):
                value = str(value).lower()
            lines.append(f"--{field.name}={value}\n")
        return "".join(lines)

    def missing(self) -> list[str]:
        """The required flags and arguments that were not given, as they are written."""
        return [
            field.metadata.get("argument", f"--{field.name}")
            for field in dataclasses.fields(self)
            if field.metadata.get("required", True) and getattr(self, field.name) == field.default
        ]

    def out_of_bounds(self) -> list[str]:
        """One message for each flag that is not what its declaration allows."""
        return [
            f"Invalid --{field.name}. Received: {getattr(self, field.name)}. "
            f"Expected {describe_bounds(bounds)}."
            for field in dataclasses.fields(self)
            if (bounds := field.metadata.get("bounds"))
            and not is_within(getattr(self, field.name), bounds)
        ]

    def changed(self, *names: str) -> list[str]:
        """Those of some settings that are not what they are by default."""
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        return [name for name in names if getattr(self, name) != defaults[name]]

    def conflicts(self) -> list[str]:
        """What is wrong between flags, one message each."""
        return []

    def problems(self) -> list[str]:
        """What is wrong with the values, one message each; empty when all is well."""
        return self.out_of_bounds() + self.conflicts()

    def validate(self) -> None:
        """Checks all settings together.

        Raises:
            InputError: Lists every problem found.
        """
        problems = self.problems()
        if missing := self.missing():
            problems.insert(0, f"{' and '.join(missing)} must be given.")
        if problems:
            raise InputError("\n".join(problems))


def _with_home(name: str, value: Any) -> Any:
    """Puts the home folder in place of a "~" that a value begins with; others stay as they are.

    Shells do so where a word begins with it alone, so not in `--run_dir=~/run`, and nobody does in
    a flagfile. No text but a path begins with it.

    Raises:
        InputError: If it is not known where the home folder is.
    """
    if not isinstance(value, str):
        return value
    expanded = os.path.expanduser(value)
    if expanded == "~" or expanded.startswith("~/"):
        raise InputError(
            f"The home folder is not known. Received: --{name}={value}. Expected a path without "
            "~, or a HOME in the environment."
        )
    return expanded


def _is_same(value: str, other: str) -> bool:
    """Whether two texts stand for the same value of a flag: "0" and "0.0", "False" and "false"."""
    try:
        return float(value) == float(other)
    except ValueError:
        return value.lower() == other.lower()


def preset_as_flagfile(text: str, beginning: str = "") -> str:
    """Turns `--preset=NAME` into the `--flagfile` of that preset; other arguments stay.

    Args:
        text: An argument.
        beginning: Of the names of the program's presets; empty for train.py.

    Raises:
        InputError: If there is no such preset.
    """
    if not text.startswith("--preset="):
        return text
    name = text.removeprefix("--preset=")
    others = tuple(_BEGINNINGS - {beginning})
    found = {
        path.stem: path
        for folder in _PRESET_FOLDERS
        for path in sorted(folder.glob(f"{beginning}*.cfg"))
        if not path.stem.startswith(others)
    }
    if name not in found:
        raise InputError(
            f"There is no such preset. Received: --preset={name}. Expected one of: "
            f"{', '.join(found) or 'none, since no presets are installed'}."
        )
    return f"--flagfile={found[name]}"


def parser(config_class: type[Settings]) -> Callable[[Sequence[str]], Settings]:
    """Makes the `flags_parser` of `absl.app.run` for one program.

    Bad flags are printed and end the program with code 2. `--only_check_flags` checks what was
    given, without asking for the flags that only a run needs, and ends it with code 0.

    Args:
        config_class: Such as `TrainingConfig`.

    Returns:
        A function from the command line to a validated config.
    """
    config_class.define_flags(flags.FLAGS)

    def parse(argv: Sequence[str]) -> Settings:
        # Paths need not be UTF-8 to be printed.
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        # absl's own --only_check_flags would end the program before values are checked.
        only_check = "--only_check_flags" in argv
        argv = [text for text in argv if text != "--only_check_flags"]
        try:
            config = config_class.parse(flags.FLAGS, argv)
            if only_check:
                if problems := config.problems():
                    raise InputError("\n".join(problems))
                print("All flags are valid.")
                sys.exit(0)
            config.validate()
        except InputError as error:
            exit_with_input_error(error)
        return config

    return parse


def exit_with_input_error(error: InputError) -> NoReturn:
    """Prints an error that the user can mend and ends the program with code 2."""
    program = pathlib.Path(sys.argv[0]).name
    print(printable(f"{program}: {error}"), file=sys.stderr)
    sys.exit(2)
