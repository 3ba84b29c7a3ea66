"""The command ``speechbrain-privacy``."""

import argparse
import subprocess
import sys
from pathlib import Path


def main(arguments=None):
    """Runs a subcommand; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="speechbrain-privacy",
        description="Private, fair and efficient speech representations.",
    )
    commands = parser.add_subparsers(dest="command", required=True)

    demo = commands.add_parser(
        "demo",
        help="train a plain and an adversarial model on synthetic speech, "
        "attack both, compare",
    )
    demo.add_argument(
        "--output", default="results/demo", help="folder of the results"
    )
    demo.add_argument(
        "options",
        nargs="*",
        help="passed on to train.py, after '--', e.g. -- --device cuda:0",
    )
    demo.set_defaults(run_command=_demo)

    report = commands.add_parser(
        "report", help="compare finished runs: a table and a picture"
    )
    report.add_argument("runs", nargs="+", help="output folders of runs")
    report.add_argument("--plot", help="where the picture goes (png, svg, pdf)")
    report.add_argument("--html", help="where a page with everything goes")
    report.add_argument(
        "--format",
        default="text",
        choices=("text", "markdown", "latex", "csv"),
        help="of the table",
    )
    report.add_argument(
        "--compare",
        action="store_true",
        help="say whether the second of two runs differs from the first",
    )
    report.set_defaults(run_command=_report)

    audit = commands.add_parser(
        "audit", help="attack a finished run again, with other attackers"
    )
    audit.add_argument("run", help="output folder of a run")
    audit.add_argument(
        "--attackers",
        required=True,
        help="YAML block, e.g. hparams/attacks/thorough.yaml",
    )
    audit.add_argument(
        "--attacker_data",
        action="append",
        nargs="+",
        default=[],
        metavar=("MANIFEST", "DATA_ROOT"),
        help="more speech for the attackers to learn on; may be repeated",
    )
    audit.add_argument(
        "--unprotected",
        metavar="RUN",
        help="a run on the same data, for attackers who do not know of the "
        "protection",
    )
    audit.add_argument("--seed", type=int, help="of the attackers")
    audit.add_argument("--device", default="cpu")
    audit.add_argument("--cache", help="folder to keep the representations in")
    audit.add_argument(
        "--output", help="where the audit goes (default: RUN/audit.json)"
    )
    audit.set_defaults(run_command=_audit)

    score = commands.add_parser(
        "score", help="every privacy metric of a list of scored trials"
    )
    score.add_argument("file", help="csv, tsv, txt, npz or parquet")
    score.add_argument(
        "--columns", help="of a file without a header: enrolment,trial,score"
    )
    score.add_argument(
        "--names",
        help="what the file calls its columns: score=cosine,label=key",
    )
    score.add_argument(
        "--speakers",
        help="a manifest (ID, spk_id) to look up who enrolment and trial are",
    )
    score.add_argument(
        "--compare", metavar="FILE", help="another system on the same trials"
    )
    score.add_argument(
        "--permutations",
        type=int,
        default=0,
        help="for the levels of no information (e.g. 200)",
    )
    score.add_argument(
        "--stream",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="bounded memory, for any length: where scores are expected",
    )
    score.add_argument(
        "--distances",
        action="store_true",
        help="lower means more alike: turn the scores round",
    )
    score.add_argument("--json", help="where the report goes as JSON")
    score.set_defaults(run_command=_score)

    boundaries = commands.add_parser(
        "boundaries", help="score boundary detectors on phone alignments"
    )
    boundaries.add_argument("alignments", help="csv: utt_id,start,end,phone")
    boundaries.add_argument("manifest", help="csv with the same utterances")
    boundaries.add_argument(
        "--data_folder", default="", help="what $data_root stands for"
    )
    boundaries.add_argument(
        "--method",
        nargs="+",
        default=["difference", "variance", "transition"],
    )
    boundaries.add_argument(
        "--rate",
        nargs="+",
        type=float,
        default=[9.0],
        help="boundaries a second; of several, the best on the other half of "
        "the speakers",
    )
    boundaries.add_argument(
        "--sample_rate", type=int, default=16000, help="of the audio"
    )
    boundaries.add_argument(
        "--format",
        default="text",
        choices=("text", "markdown", "latex", "csv"),
        help="of the table",
    )
    boundaries.set_defaults(run_command=_boundaries)

    speech = commands.add_parser(
        "make-minispeech", help="synthesise the embedded corpus, any size"
    )
    _add_minispeech_arguments(speech)
    speech.set_defaults(run_command=_make_minispeech)

    options = parser.parse_args(arguments)
    try:
        return options.run_command(options) or 0
    except (ValueError, OSError, ImportError) as fault:
        print(f"speechbrain-privacy: {fault}", file=sys.stderr)
        return 2


def make_minispeech(arguments=None):
    """The command ``make_minispeech``."""
    return main(
        ["make-minispeech", *(sys.argv[1:] if arguments is None else arguments)]
    )


def _audit(options):
    from speechbrain_privacy.dataio.files import write_json
    from speechbrain_privacy.experiments import AUDIT
    from speechbrain_privacy.report.summary import print_runs
    from speechbrain_privacy.runs import audit_run

    for given in options.attacker_data:
        if len(given) > 2:
            raise ValueError(
                "--attacker_data is a manifest and what its $data_root stands "
                f"for, not {' '.join(given)}"
            )
    found = audit_run(
        options.run,
        options.attackers,
        [(path, *(root or [""])) for path, *root in options.attacker_data],
        options.unprotected,
        options.seed,
        options.device,
        options.cache,
    )
    write_json(options.output or Path(options.run) / AUDIT, found)
    if options.output:
        print(f"written to {options.output}")
    else:
        print_runs([options.run])
    return 0


def _score(options):
    from dataclasses import asdict

    from speechbrain_privacy.dataio.files import write_json
    from speechbrain_privacy.dataio.score_lists import (
        read_scores,
        read_speakers,
        stream_scores,
        turned,
    )
    from speechbrain_privacy.report import score_lists

    settings = {
        "columns": options.columns and options.columns.split(","),
        "names": options.names and _pairs(options.names),
    }
    if options.stream:
        for option in ("speakers", "compare", "permutations"):
            if getattr(options, option):
                raise ValueError(
                    f"--{option} needs the whole list: not with --stream"
                )
        low, high = options.stream
        pieces = stream_scores(options.file, **settings)
        if options.distances:
            pieces, low, high = map(turned, pieces), -high, -low
        found = score_lists.evaluate_stream(pieces, low, high)
        print(score_lists.format_stream(found))
        report = asdict(found)
    else:
        if options.speakers:
            settings["speaker_of"] = read_speakers(options.speakers)
        if options.permutations < 0:
            raise ValueError("--permutations is a number of repetitions")
        scored = read_scores(options.file, **settings)
        if options.distances:
            scored = turned(scored)
        report = score_lists.evaluate_list(scored, options.permutations)
        print(score_lists.format_report(report))
        if options.compare:
            other = read_scores(options.compare, **settings)
            if options.distances:
                other = turned(other)
            found = score_lists.compare_lists(scored, other)
            second = score_lists.evaluate_list(other, options.permutations)
            compared = score_lists.format_comparison(
                found, options.file, options.compare
            )
            print(f"\n{score_lists.format_report(second)}\n\n{compared}")
            report["other"] = second
            report["compared"] = {
                name: asdict(value) for name, value in found.items()
            }
    if options.json:
        write_json(options.json, report)


def _pairs(text):
    pairs = [pair.split("=", 1) for pair in text.split(",")]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"--names is '{text}', not score=cosine,label=key")
    return dict(pairs)


def _report(options):
    from speechbrain_privacy.report import plots
    from speechbrain_privacy.report.compare import (
        compare_runs,
        format_differences,
    )
    from speechbrain_privacy.report.html import write_page
    from speechbrain_privacy.report.scenarios import describe_scenarios
    from speechbrain_privacy.report.summary import (
        describe,
        describe_adversaries,
        error_name,
        format_table,
        load_run,
        summarise,
    )

    runs = [load_run(folder) for folder in options.runs]
    rows = summarise(runs)
    print(format_table(runs, options.format))
    # A table for a program stands alone.
    told = sys.stdout if options.format in ("text", "markdown") else sys.stderr
    print(f"\n{describe(runs)}", file=told)
    for further in (describe_adversaries(runs), describe_scenarios(runs)):
        if further:
            print(f"\n{further}", file=told)
    compared = ""
    if options.compare:
        if len(runs) != 2:
            raise ValueError(f"--compare needs two runs, not {len(runs)}")
        found = compare_runs(*runs)
        compared = format_differences(found, options.runs)
        print(f"\n{compared}", file=told)
    if options.plot:
        picture = plots.save(
            plots.tradeoff(rows, error_name(runs)), options.plot
        )
        print(f"\npicture: {picture.resolve()}", file=told)
    if options.html:
        page = write_page(runs, options.html, compared)
        print(f"\npage: {page.resolve()}", file=told)


def _boundaries(options):
    from speechbrain_privacy.dataio.alignments import read_alignments
    from speechbrain_privacy.dataio.manifest import read_manifest
    from speechbrain_privacy.masking.evaluation import evaluate_detectors
    from speechbrain_privacy.report.tables import format_lines

    found = evaluate_detectors(
        read_manifest(options.manifest, options.data_folder),
        read_alignments(options.alignments),
        options.method,
        options.rate,
        options.sample_rate,
    )
    lines = [
        ("detector", "rate", "precision %", "recall %", "F1 %", "R-value %")
    ]
    for row in found:
        report = row["report"]
        numbers = report.precision, report.recall, report.f1, report.r_value
        rates = " / ".join(f"{rate:g}" for rate in row["rates"])
        percents = [f"{100 * number:.1f}" for number in numbers]
        lines.append((row["name"], rates, *percents))
    print(format_lines(lines, options.format))
    spent = ", ".join(
        f"{row['name']} {row['cpu_seconds']:.1f}"
        for row in found
        if row["cpu_seconds"] is not None
    )
    first = found[0]["report"]
    print(
        f"\n{first.n_reference} boundaries of {found[0]['n_utterances']} "
        f"utterances ({found[0]['n_skipped']} left out: not in both files), a "
        "hit within 20 ms, one to one. CPU seconds for an hour "
        f"of audio: {spent}",
        file=sys.stdout if options.format == "text" else sys.stderr,
    )


def _demo(options):
    recipe = Path(__file__).parents[1] / "recipes/MiniSpeech/ASR/CTC"
    if not (recipe / "train.py").is_file():
        raise FileNotFoundError(
            "the demo runs a recipe of the source tree, which is not here: "
            "clone the repository and install it with pip install -e"
        )
    output = Path(options.output).resolve()
    names = ("conformer", "conformer_adversarial")
    for name in names:
        subprocess.run(
            [
                sys.executable,
                "train.py",
                f"hparams/{name}.yaml",
                f"--output_folder={output / name}",
                *options.options,
            ],
            cwd=recipe,
            check=True,
        )
    return main(
        [
            "report",
            *(str(output / name) for name in names),
            f"--plot={output / 'tradeoff.png'}",
        ]
    )


def _add_minispeech_arguments(parser):
    parser.add_argument("--hours", type=float, help="approximate length")
    parser.add_argument("--speakers", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1234)
    parser.add_argument(
        "--folder", help="where to (default: the user's cache folder)"
    )
    parser.add_argument("--processes", type=int, help="default: one per core")


def _make_minispeech(options):
    from speechbrain_privacy.dataio import minispeech

    if options.hours is None:
        settings = minispeech.Settings(options.speakers, seed=options.seed)
    else:
        settings = minispeech.Settings.lasting(
            options.hours, options.speakers, options.seed
        )
    print(
        minispeech.make_minispeech(settings, options.folder, options.processes)
    )


if __name__ == "__main__":
    sys.exit(main())
