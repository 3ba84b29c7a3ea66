"""What the subcommands of ``speechbrain-privacy`` do.

Each takes its parsed options and imports what it needs: the command answers
``--help`` at once.
"""

import subprocess
import sys
from pathlib import Path

from speechbrain_privacy.dataio.files import write_json


def audit(options):
    """The command ``audit``."""
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
        options.taps and _pairs(options.taps, "--taps", "layer=encoder"),
    )
    write_json(options.output or Path(options.run) / AUDIT, found)
    if options.output:
        print(f"written to {options.output}")
    else:
        print_runs([options.run])
    return 0


def score(options):
    """The command ``score``."""
    from dataclasses import asdict

    from speechbrain_privacy.dataio.score_lists import (
        read_scores,
        read_speakers,
        stream_scores,
        turned,
    )
    from speechbrain_privacy.report import score_lists

    settings = {
        "columns": options.columns and options.columns.split(","),
        "names": options.names
        and _pairs(options.names, "--names", "score=cosine,label=key"),
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
    _keep(options, report)


def _keep(options, content):
    """As JSON, if that is asked for."""
    if options.json:
        write_json(options.json, content)


def _pairs(text, option, example):
    pairs = [pair.split("=", 1) for pair in text.split(",")]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"{option} is '{text}', not {example}")
    return dict(pairs)


def report(options):
    """The command ``report``."""
    _tell(
        options.runs,
        options.format,
        options.compare,
        options.plot,
        options.html,
        options.cost,
    )


def pack(options):
    """The command ``pack``."""
    from speechbrain_privacy.report.packed import pack_run
    from speechbrain_privacy.report.summary import load_run

    run = pack_run(load_run(options.run))
    write_json(options.file, run, indent=None)
    print(f"{run['name']}, seed {run['seed']}, is in {options.file}")


def _tell(
    folders, style="text", compare=False, plot=None, html=None, cost="flops"
):
    """A table of runs, and what else is asked for."""
    from speechbrain_privacy.report import plots
    from speechbrain_privacy.report.compare import (
        compare_runs,
        format_differences,
    )
    from speechbrain_privacy.report.html import write_page
    from speechbrain_privacy.report.pretraining import (
        describe_costs,
        describe_letters,
    )
    from speechbrain_privacy.report.scenarios import describe_scenarios
    from speechbrain_privacy.report.summary import (
        describe,
        describe_adversaries,
        error_name,
        format_table,
        load_run,
        summarise,
    )

    runs = [load_run(folder) for folder in folders]
    print(format_table(runs, style))
    # A table for a program stands alone.
    told = sys.stdout if style in ("text", "markdown") else sys.stderr
    print(f"\n{describe(runs)}", file=told)
    for further in (
        describe_adversaries(runs),
        describe_scenarios(runs),
        describe_letters(runs, style),
        describe_costs(runs, style, cost),
    ):
        if further:
            print(f"\n{further}", file=told)
    compared = ""
    if compare:
        if len(runs) != 2:
            raise ValueError(f"--compare needs two runs, not {len(runs)}")
        found = compare_runs(*runs)
        compared = format_differences(found, folders)
        print(f"\n{compared}", file=told)
    if plot:
        drawn = plots.tradeoff(summarise(runs), error_name(runs))
        picture = plots.save(drawn, plot)
        print(f"\npicture: {picture.resolve()}", file=told)
    if html:
        page = write_page(runs, html, compared, cost)
        print(f"\npage: {page.resolve()}", file=told)


def boundaries(options):
    """The command ``boundaries``."""
    from speechbrain_privacy.dataio.alignments import read_alignments
    from speechbrain_privacy.dataio.manifest import read_manifest
    from speechbrain_privacy.masking.evaluation import evaluate_detectors
    from speechbrain_privacy.report.boundaries import format_detectors

    found = evaluate_detectors(
        read_manifest(options.manifest, options.data_folder),
        read_alignments(options.alignments),
        options.method,
        options.rate,
        options.sample_rate,
        learnt_from=options.learnt_from,
    )
    print(format_detectors(found, options.format))
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


def represent(options):
    """The command ``represent``."""
    from speechbrain_privacy.report.representations import (
        format_representations,
    )
    from speechbrain_privacy.runs import represent_run

    found = represent_run(
        options.run,
        options.manifest,
        options.data_folder,
        options.alignments,
        options.taps and _pairs(options.taps, "--taps", "layer=encoder"),
        options.clusters,
        options.seed,
        options.device,
        options.weights,
        options.views,
    )
    print(format_representations(found, options.format))
    _keep(options, found)


def epsilon(options):
    """The command ``epsilon``; 1 if a promise is broken."""
    from speechbrain_privacy.report.epsilon import broken, format_epsilons
    from speechbrain_privacy.runs import check_run_epsilon

    found = [
        one
        for run in options.runs
        for one in check_run_epsilon(
            run, options.draws, options.seed, options.device, options.at
        )
    ]
    print(format_epsilons(found, options.format))
    _keep(options, found)
    return int(any(map(broken, found)))


def anonymise(options):
    """The command ``anonymise``; 1 if a file could not be read."""
    from speechbrain_privacy.augment.files import anonymise_folder
    from speechbrain_privacy.augment.mcadams import McAdams
    from speechbrain_privacy.augment.voices import Pitch, VocalTract

    kinds = {
        "mcadams": (McAdams, [0.8]),
        "vtln": (VocalTract, [0.87, 1.15]),
        "pitch": (Pitch, [0.8, 1.25]),
    }
    kind, default = kinds[options.method]
    numbers = options.factor or default
    if len(numbers) > 2:
        raise ValueError(f"--factor is one number or two, not {len(numbers)}")
    given = [(numbers[0], numbers[-1])]
    # A bad factor is no file's fault.
    made = {16000: kind(*given, sample_rate=16000)}

    def method(wavs, rate):
        if rate not in made:
            made[rate] = kind(*given, sample_rate=rate)
        return made[rate](wavs)

    n_files, n_others, unread = anonymise_folder(
        options.source,
        options.target,
        method,
        {"method": options.method, "factor": numbers},
        options.seed,
    )
    print(
        f"{n_files - len(unread)} of {n_files} audio files, in "
        f"{options.target}; {n_others} other files as they are"
    )
    for path, reason in unread:
        print(f"could not be read: {path}: {reason}", file=sys.stderr)
    return 1 if unread else 0


def demo(options):
    """The command ``demo``."""
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
    _tell([output / name for name in names], plot=output / "tradeoff.png")


def make_minispeech(options):
    """The command ``make-minispeech``."""
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


def export(options):
    """The command ``export``."""
    from speechbrain_privacy.export import export_run

    found = export_run(options.run, options.output)
    made = "hidden frames"
    if found["transcript"] is not None:
        made = f"'{found['transcript']}', with log-probabilities"
    print(
        f"{options.output}: {found['parameters']} parameters. Of "
        f"'{found['utterance']}' it makes {made} that differ by "
        f"{found['difference']:.1g} at most."
    )
    if found["searches"]:
        print("It decodes greedily: the run's beam search is not in it.")
    done, wanted = found["epochs"]
    if done < wanted:
        print(f"Its training is not finished: {done} of {wanted} epochs.")


def pretext(options):
    """The command ``pretext``."""
    from dataclasses import asdict

    from speechbrain_privacy.audit import pretext as selection
    from speechbrain_privacy.dataio.alignments import load_alignments
    from speechbrain_privacy.dataio.manifest import read_manifest
    from speechbrain_privacy.lobes.descriptors import Descriptors
    from speechbrain_privacy.metrics.dependence import task_weights
    from speechbrain_privacy.report.tables import format_lines

    if options.recipe:
        selection.check_recipe(*options.recipe)
    need = () if options.alignments else (options.label or selection.LABEL,)
    manifest = read_manifest(options.manifest, options.data_folder, need)
    segments = selection.segments_of(
        manifest,
        load_alignments(options.alignments, [manifest])
        if options.alignments
        else None,
        options.label,
    )
    kernels, targets, left_out = selection.describe_segments(
        segments,
        Descriptors(sample_rate=options.sample_rate),
        options.sample_rate,
        options.most,
        options.least,
        options.seed,
    )
    found = task_weights(
        list(kernels.values()),
        list(targets.values()),
        options.method,
        options.centering,
    )
    null = selection.null_levels(kernels, targets, options.centering)
    lines = [("task", "1000 HSIC", "shuffled", "weight")]
    for task in sorted(found.alone, key=found.alone.get):
        levels = 1000 * found.alone[task], 1000 * null[task]
        lines.append(
            (task, *(f"{x:.3f}" for x in levels), f"{found.weights[task]:.4f}")
        )
    print(format_lines(lines, options.format))
    said = sys.stdout if options.format == "text" else sys.stderr
    n_segments = sum(map(len, kernels.values()))
    print(
        f"\n{n_segments} segments of {len(kernels)} classes ({len(left_out)} "
        f"with fewer than {options.least} left out). All tasks together: "
        f"{1000 * found.together:.3f}; with equal weights: "
        f"{1000 * found.equal:.3f}. Less is better, of all together: what "
        "one task has alone says little of its weight.",
        file=said,
    )
    weights = ", ".join(f"{t}: {w:.4f}" for t, w in found.weights.items())
    print(f'\n--weights "{{{weights}}}"', file=said)
    if options.recipe:
        origin = f"of {options.manifest}, {options.method}"
        selection.write_recipe(*options.recipe, found.weights, origin)
    content = asdict(found) | {"null": null, "classes": sorted(kernels)}
    _keep(options, content)
