"""The claims about warmup, tested on real trainings.

    python -m studies.claims run NAME [--scale cpu|gpu] [--n_jobs N]
    python -m studies.claims report [NAME] [--scale cpu|gpu]

`run` trains what is left to do of a study, resumable, and writes its `trials.jsonl`, page and pictures. `report` trains
nothing: it writes page and pictures, of one study or of all that have records, and the table of all. Run it from the
folder that holds `studies`.
"""

from __future__ import annotations

import argparse
import sys

from autowarm.errors import AutowarmError
from studies.claims.pages import write_page, write_table
from studies.claims.places import SCALES, STUDIES, Place
from studies.claims.running import run


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="train what is left to do of a study")
    running.add_argument("name", choices=STUDIES)
    running.add_argument("--n_jobs", type=int, help="trials at once; default: as the study files have it")
    reporting = commands.add_parser("report", help="write pages, pictures and the table from the records")
    reporting.add_argument("name", nargs="?", choices=STUDIES, help="default: all that have records")
    for command in (running, reporting):
        command.add_argument("--scale", choices=SCALES, default="cpu")
    given = parser.parse_args()
    try:
        _obey(given)
    except AutowarmError as e:
        sys.exit(f"{given.command}: {e}")
    except KeyboardInterrupt:
        print("stopped; what had finished is kept. Run the same command to go on.", file=sys.stderr)
        sys.exit(130)


def _obey(given: argparse.Namespace) -> None:
    places = [Place(name, given.scale) for name in ([given.name] if given.name else STUDIES)]
    if given.command == "run":
        run(places[0], given.n_jobs)
    for place in places:
        # one that is named must have records
        if given.name or place.records_file.is_file():
            print(write_page(place))
    print(write_table())


if __name__ == "__main__":
    main()
