"""What was found beside the images when a data set was opened: what was passed over, and why."""

import collections
import csv
import dataclasses
import os
import re
from collections.abc import Mapping

from dc_keras.files import spreadsheet_text, write_atomically

_EXAMPLES = 3


@dataclasses.dataclass(frozen=True)
class Findings:
    """What a user should know about a data set beside its images.

    Attributes:
        passed_over: Path below the data folder and kind of what is not used.
        unreadable_folders: The reason for each folder below that cannot be listed.
        notes: Sentences about the rest.
    """

    passed_over: tuple[tuple[str, str], ...] = ()
    unreadable_folders: Mapping[str, str] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def counts(self) -> str:
        """What was passed over by kind, most first: "72 HEIC, 3 text or other files"."""
        kinds = collections.Counter(kind for _, kind in self.passed_over)
        # By name where there are as many, so that the line does not depend on threads.
        ordered = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
        return ", ".join(f"{count:,} {_plural(kind, count)}" for kind, count in ordered)

    def lines(self, listed_in: str | os.PathLike = "") -> list[str]:
        """What to tell the user, a line each.

        Args:
            listed_in: The file that lists what was passed over; without one, the first are named.
        """
        if not self.passed_over:
            return list(self.notes)
        if listed_in:
            where = f"listed in {os.fspath(listed_in)}"
        else:
            # A name that is a line to itself could say anything.
            shown = [repr(path) for path, _ in self.passed_over[:_EXAMPLES]]
            where = ", ".join(shown) + " and others" * (len(self.passed_over) > _EXAMPLES)
        return [f"Passed over: {self.counts()} ({where})", *self.notes]

    def write(self, path: str | os.PathLike) -> None:
        """Writes what was passed over: a CSV file for people, path and kind."""
        with write_atomically(path) as file:
            writer = csv.writer(file)
            writer.writerow(["path", "kind"])
            writer.writerows((spreadsheet_text(path), kind) for path, kind in self.passed_over)

    def also(self, *notes: str, passed_over: tuple[tuple[str, str], ...] = ()) -> "Findings":
        """These findings and more."""
        return dataclasses.replace(
            self, passed_over=self.passed_over + passed_over, notes=self.notes + notes
        )


def _plural(kind: str, count: int) -> str:
    """A kind as it is counted: formats such as TIFF stay, "broken link" becomes "broken links".

    >>> _plural("TIFF", 2), _plural("broken link", 2), _plural("file above 1 GiB", 2)
    ('TIFF', 'broken links', 'files above 1 GiB')
    """
    what, *rest = re.split(r"(?= above | of | that | outside )", kind, maxsplit=1)
    countable = what.endswith(("file", "folder", "link", "shard", "image"))
    return "".join([what + "s", *rest]) if countable and count != 1 else kind
