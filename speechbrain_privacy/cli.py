"""The command ``speechbrain-privacy``."""

import argparse
import sys

from speechbrain_privacy import commands


def main(arguments=None):
    """Runs a subcommand; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="speechbrain-privacy",
        description="Private, fair and efficient speech representations.",
    )
    kinds = parser.add_subparsers(dest="command", required=True)

    demo = kinds.add_parser(
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
    demo.set_defaults(run_command=commands.demo)

    report = kinds.add_parser(
        "report", help="compare finished runs: a table and a picture"
    )
    report.add_argument(
        "runs",
        nargs="+",
        help="output folders of runs, or what pack has made of them",
    )
    report.add_argument("--plot", help="where the picture goes (png, svg, pdf)")
    report.add_argument("--html", help="where a page with everything goes")
    _add_format(report)
    report.add_argument(
        "--compare",
        action="store_true",
        help="say whether the second of two runs differs from the first",
    )
    report.add_argument(
        "--cost",
        choices=("flops", "cpu_seconds", "audio_seconds", "joules"),
        default="flops",
        help="what errors of pre-trained models are told over: operations "
        "(default), CPU time, audio heard or energy, of training",
    )
    report.set_defaults(run_command=commands.report)

    pack = kinds.add_parser(
        "pack", help="a finished run's results in one small file, for report"
    )
    pack.add_argument("run", help="output folder of a run")
    pack.add_argument("file", help="where they go, as JSON")
    pack.set_defaults(run_command=commands.pack)

    audit = kinds.add_parser(
        "audit", help="attack a finished run again, with other attackers"
    )
    audit.add_argument("run", help="output folder of a run")
    audit.add_argument(
        "--attackers",
        required=True,
        help="standard or thorough, or a YAML block like these of "
        "hparams/attacks",
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
        "--taps",
        help="further places to attack, e.g. first=encoder.layers.1,"
        "second=encoder.layers.2",
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
    audit.set_defaults(run_command=commands.audit)

    score = kinds.add_parser(
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
    score.set_defaults(run_command=commands.score)

    boundaries = kinds.add_parser(
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
        "--learnt_from",
        help="run of a detector that has learnt, to be scored too",
    )
    boundaries.add_argument(
        "--sample_rate", type=int, default=16000, help="of the audio"
    )
    _add_format(boundaries)
    boundaries.set_defaults(run_command=commands.boundaries)

    represent = kinds.add_parser(
        "represent", help="what a run's representations are like, untrained"
    )
    represent.add_argument("run", help="output folder of a run")
    represent.add_argument(
        "--weights",
        help="another checkpoint of the encoder than the last, e.g. "
        "RUN/milestones/epoch-0004.ckpt",
    )
    represent.add_argument(
        "--manifest",
        help="other speech than the run's test data (ID, duration, wav)",
    )
    represent.add_argument(
        "--data_folder", default="", help="what its $data_root stands for"
    )
    represent.add_argument(
        "--alignments",
        nargs="+",
        default=[],
        help="csv: utt_id,start,end,phone",
    )
    represent.add_argument(
        "--taps",
        help="what is looked at, e.g. first=objective.network.encoder.layers."
        "layers.0 (default: what the run's audit taps)",
    )
    represent.add_argument("--clusters", type=int, default=100)
    represent.add_argument(
        "--views",
        type=int,
        default=4,
        help="ways each utterance is heard in, for LiDAR and alignment "
        "(default: 4; 0: without)",
    )
    represent.add_argument("--seed", type=int, default=0)
    represent.add_argument("--device", default="cpu")
    represent.add_argument("--json", help="where the numbers go as JSON")
    _add_format(represent)
    represent.set_defaults(run_command=commands.represent)

    epsilon = kinds.add_parser(
        "epsilon", help="attack the noise that promises an epsilon"
    )
    epsilon.add_argument("runs", nargs="+", help="output folders of runs")
    epsilon.add_argument(
        "--draws", type=int, default=100_000, help="of noise, for each input"
    )
    epsilon.add_argument(
        "--at",
        nargs="+",
        type=float,
        default=[],
        metavar="EPSILON",
        help="other epsilons than the run's, on its frames",
    )
    epsilon.add_argument("--seed", type=int, default=0)
    epsilon.add_argument("--device", default="cpu")
    epsilon.add_argument("--json", help="where the numbers go as JSON")
    _add_format(epsilon)
    epsilon.set_defaults(run_command=commands.epsilon)

    voices = kinds.add_parser(
        "anonymise", help="change the voices of a folder of speech"
    )
    voices.add_argument("source", help="folder; what is no audio is copied")
    voices.add_argument("target", help="folder, to be made or gone on with")
    voices.add_argument(
        "--method",
        default="mcadams",
        choices=("mcadams", "vtln", "pitch"),
        help="poles of linear prediction, formants, or pitch",
    )
    voices.add_argument(
        "--factor",
        nargs="+",
        type=float,
        default=[],
        help="of the method, from 0.5 to 2; of two, one is drawn between them "
        "for each file (default: mcadams 0.8, vtln 0.87 1.15, pitch 0.8 1.25, "
        "of which some voices get nearly 1: no change)",
    )
    voices.add_argument("--seed", type=int, default=0)
    voices.set_defaults(run_command=commands.anonymise)

    pretext = kinds.add_parser(
        "pretext",
        help="weights of pretext tasks, from labelled speech (the multitask "
        "recipes' --weights)",
    )
    pretext.add_argument("manifest", help="csv: ID, duration, wav and labels")
    pretext.add_argument(
        "--data_folder", default="", help="what $data_root stands for"
    )
    pretext.add_argument(
        "--alignments",
        nargs="+",
        default=[],
        help="csv: utt_id,start,end,phone; a phone is a class",
    )
    pretext.add_argument(
        "--label",
        help="without alignments: the column whose values are classes (default "
        "spk_id)",
    )
    pretext.add_argument(
        "--method", default="sparsemax", choices=("softmax", "sparsemax")
    )
    pretext.add_argument(
        "--centering",
        default="hsic",
        choices=("hsic", "released"),
        help="of kernels; released: as in the code of Zaiem et al., which "
        "does not centre",
    )
    pretext.add_argument("--least", type=int, default=20, help="in a class")
    pretext.add_argument("--most", type=int, default=300, help="of a class")
    pretext.add_argument("--seed", type=int, default=0)
    pretext.add_argument(
        "--sample_rate", type=int, default=16000, help="of the audio"
    )
    pretext.add_argument("--json", help="where the numbers go as JSON")
    pretext.add_argument(
        "--recipe",
        nargs=2,
        metavar=("FROM", "TO"),
        help="YAML of a multitask recipe, and where the same with these "
        "weights goes",
    )
    _add_format(pretext)
    pretext.set_defaults(run_command=commands.pretext)

    export = kinds.add_parser(
        "export",
        help="write a recogniser as a folder that SpeechBrain alone can use, "
        "or a pre-trained model of waveforms as one of the hub",
    )
    export.add_argument("run", help="output folder of a run")
    export.add_argument("output", help="folder, to be made")
    export.set_defaults(run_command=commands.export)

    speech = kinds.add_parser(
        "make-minispeech", help="synthesise the embedded corpus, any size"
    )
    _add_minispeech_arguments(speech)
    speech.set_defaults(run_command=commands.make_minispeech)

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


def _add_format(parser):
    parser.add_argument(
        "--format",
        default="text",
        choices=("text", "markdown", "latex", "csv"),
        help="of the table",
    )


def _add_minispeech_arguments(parser):
    parser.add_argument("--hours", type=float, help="approximate length")
    parser.add_argument("--speakers", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1234)
    parser.add_argument(
        "--folder", help="where to (default: the user's cache folder)"
    )
    parser.add_argument("--processes", type=int, help="default: one per core")


if __name__ == "__main__":
    sys.exit(main())
