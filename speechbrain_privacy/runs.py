"""A finished run, opened again and audited anew."""

import pickle
import re
from pathlib import Path

from hyperpyyaml import load_hyperpyyaml

from speechbrain_privacy.audit.audit import Audit
from speechbrain_privacy.audit.checks import check_taps
from speechbrain_privacy.audit.describe import describe
from speechbrain_privacy.audit.epsilon import check_epsilon
from speechbrain_privacy.audit.representations import Tap, extract
from speechbrain_privacy.augment.noise import WorseHeard
from speechbrain_privacy.dataio.alignments import load_alignments
from speechbrain_privacy.dataio.asr import load_asr_data, make_dataset
from speechbrain_privacy.dataio.manifest import joined, read_manifest
from speechbrain_privacy.dataio.speech import (
    load_speech_data,
    make_speech_dataset,
)
from speechbrain_privacy.experiments import SPLITS, attackers_split
from speechbrain_privacy.lobes.trained import load_encoder, without_weights

#: What a recipe may have a manifest of.
EVERY_SPLIT = (*SPLITS, "learn", "probe")


def audit_run(
    folder,
    suite,
    attacker_data=(),
    unprotected=None,
    seed=None,
    device="cpu",
    cache=None,
    taps=None,
):
    """Attacks a finished run with other attackers.

    Arguments
    ---------
    folder : str or Path
        Its output folder.
    suite : str or Path
        YAML block of attackers; see ``load_suite``.
    attacker_data : list of tuple
        ``(manifest, data_root)`` of more speech for attackers to learn on.
    unprotected : str or Path, optional
        Folder of a run on the same data, for attackers who know no other.
    seed : int, optional
        Of the attackers; default: the suite's.
    device : str
    cache : str or Path, optional
        Where representations are kept.
    taps : dict, optional
        Name -> module, beside what the run's own audit taps: attackers choose
        their layer.

    Returns
    -------
    dict
        See ``Audit.run``.
    """
    options = {"device": device}
    brain, data, hparams = reopen(folder, options)
    before = hparams["audit"]
    further = {name: Tap(module) for name, module in (taps or {}).items()}
    if known := sorted(further.keys() & before.taps.keys()):
        raise ValueError(
            f"the run's audit has a tap '{known[0]}' already: give this one "
            "another name"
        )
    check_taps(further, brain)
    auditor = load_suite(
        suite,
        {**before.taps, **further},
        before.attributes,
        clear=before.clear,
        weak=before.weak,
        enrolment=before.enrolment,
        cache=cache,
    )
    if not reads_words(hparams):
        auditor.text_attackers = {}
    if seed is not None:
        auditor.seed = seed
    other = None
    if unprotected is not None:
        without, its_data, its_values = reopen(unprotected, options)
        other = (
            without,
            with_attacker_data(its_data, its_values, attacker_data),
            _split(its_data, "test"),
        )
    found = auditor.run(
        brain,
        with_attacker_data(data, hparams, attacker_data),
        _split(data, "test"),
        _split(data, "valid"),
        other,
    )
    if other is not None:
        found["unprotected"] = {
            key: its_values.get(key) for key in ("name", "seed")
        }
    return found


def represent_run(
    folder,
    manifest=None,
    data_folder="",
    alignments=(),
    taps=None,
    clusters=100,
    seed=0,
    device="cpu",
    weights=None,
    views=4,
):
    """Says what a finished run's representations are like.

    Arguments
    ---------
    folder : str or Path
        Its output folder.
    manifest : str or Path, optional
        Other speech than the run's test data; ``ID, duration, wav`` will do.
    data_folder : str
        What its ``$data_root`` stands for.
    alignments : list of str
        Phones; without any, no metric that needs them.
    taps : dict, optional
        Name -> module. Default: what the run's audit taps.
    clusters : int
        For purities.
    seed : int
        Of draws, clusters and views.
    device : str
    weights : str or Path, optional
        Another checkpoint of the run's encoder than the last, such as those
        of its ``milestones``.
    views : int
        Of each utterance, in drawn rooms and under pink noise of 0 to 20
        decibels; 0 for none.

    Returns
    -------
    dict
        See ``audit.describe.describe``.
    """
    if views < 0:
        raise ValueError(f"views is 0 or more, not {views}")
    brain, data, hparams = reopen(folder, {"device": device})
    model = hparams["model"]
    if weights is not None:
        load_encoder(model["lobe"], weights)
    dataset, speech = _split(data, "test")
    if manifest is not None:
        speech = read_manifest(manifest, data_folder)
        dataset = _dataset(speech, data, hparams)
    chosen = hparams["audit"].taps
    if taps:
        chosen = {name: Tap(module) for name, module in taps.items()}
    return {
        "name": hparams["name"],
        "seed": hparams["seed"],
        "speech": speech.fingerprint(),
        "taps": describe(
            brain,
            chosen,
            dataset,
            speech,
            load_alignments(alignments, [speech]),
            clusters=clusters,
            seed=seed,
            worse=WorseHeard(model["sample_rate"]),
            views=views,
        ),
    }


def check_run_epsilon(folder, draws=100_000, seed=0, device="cpu", epsilons=()):
    """Attacks the noise of a finished run, with frames of its test data.

    Arguments
    ---------
    folder : str or Path
        Its output folder.
    draws, seed : int
        See ``audit.epsilon.check_epsilon``.
    device : str
    epsilons : sequence of float
        Others than the run's own: as much noise as they need, on the same
        frames.

    Returns
    -------
    list of dict
        One for each epsilon, with the run's ``name`` and ``seed``.

    Raises
    ------
    ValueError
        If nothing in the run promises an epsilon.
    """
    brain, data, hparams = reopen(folder, {"device": device})
    mechanism = getattr(brain.modules, "bottleneck", None)
    if not hasattr(mechanism, "epsilon"):
        raise ValueError(
            f"{folder}: its model has no bottleneck with an epsilon"
        )
    dataset, speech = _split(data, "test")
    taps = {"encoder": Tap("encoder")}
    frames = extract(brain, taps, dataset)["encoder"]
    speakers = {row["ID"]: row["spk_id"] for row in speech.rows}
    several = [mechanism.at(epsilon) for epsilon in epsilons]
    return [
        {
            "name": hparams["name"],
            "seed": hparams["seed"],
            **check_epsilon(noise.cpu(), frames, speakers, draws, seed),
        }
        for noise in several or [mechanism]
    ]


def _split(data, name):
    return data.datasets[name], data.manifests[name]


def reopen(folder, run_opts=None):
    """A finished run, as it was: its Brain with the last checkpoint.

    Arguments
    ---------
    folder : str or Path
        Its output folder, with the ``hyperparams.yaml`` that was saved.
    run_opts : dict, optional
        Of the Brain, e.g. the device.

    Returns
    -------
    tuple
        Brain, ``ASRData`` (or ``SpeechData``) and the values of the YAML.

    Raises
    ------
    FileNotFoundError
        If the folder holds no run, or no checkpoint.
    """
    path = Path(folder) / "hyperparams.yaml"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no hyperparams.yaml: no run")
    values = path.read_text(encoding="utf-8")
    # Relative paths were the recipe's, and the folder may have moved.
    # A long path stands on a line of its own.
    started = re.search(r"(?m)^output_folder:\s+(\S.*)$", values).group(1)
    here = str(Path(folder).resolve())
    values = re.sub(
        rf"(?m)(?<= ){re.escape(started)}(?=/|$)", lambda _: here, values
    )
    hparams = load_hyperpyyaml(without_weights(values))
    if "model" not in hparams:
        raise ValueError(
            f"{folder} has trained no encoder that can be attacked or given "
            "away"
        )
    given = {split: hparams.get(f"{split}_manifest") for split in EVERY_SPLIT}
    manifests = {
        split: manifest
        for split, manifest in given.items()
        if Path(manifest or "-").is_file()
    }
    for split in SPLITS[:3]:
        if split not in manifests:
            raise FileNotFoundError(
                f"{path}: the {split} manifest '{given[split]}' is not there"
            )
    settings = {
        "save_folder": hparams["save_folder"],
        "data_folder": hparams["data_folder"],
        "sample_rate": hparams["model"]["sample_rate"],
    }
    if reads_words(hparams):
        data = load_asr_data(
            manifests,
            hparams["tokenizer"],
            hparams["attributes"],
            frames_per_second=hparams["model"]["frames_per_second"],
            **settings,
        )
    else:
        data = load_speech_data(manifests, hparams["attributes"], **settings)
    brain = hparams["brain"](
        modules=hparams["modules"],
        hparams=hparams,
        run_opts=run_opts or {},
        checkpointer=hparams["checkpointer"],
        n_classes=data.labels.sizes,
    )
    if brain.checkpointer.find_checkpoint() is None:
        raise FileNotFoundError(f"{folder} holds no checkpoint")
    try:
        brain.on_evaluate_start()
    except pickle.UnpicklingError as fault:
        raise ValueError(
            f"{folder}: its checkpoint holds more than weights, and is not "
            f"read: {str(fault).splitlines()[0]}"
        ) from None
    return brain, data, hparams


def reads_words(hparams):
    """Whether a run was trained on transcripts."""
    return "tokenizer" in hparams


def with_attacker_data(data, hparams, manifests):
    """Training data for attackers: the run's own and that of other corpora.

    Arguments
    ---------
    data : ASRData or SpeechData
    hparams : dict
        The run's values, for its tokenizer and sampling rate.
    manifests : list of tuple
        ``(path, data_root)``. Only ``ID``, ``duration``, ``wav`` and
        ``spk_id`` are needed; what is not known of a speaker is not attacked
        with these utterances.

    Returns
    -------
    tuple
        Dataset and manifest of all together.

    Raises
    ------
    ManifestError
        If two of them share an utterance's ``ID``.
    """
    learn = attackers_split(data)
    if not manifests:
        return _split(data, learn)
    own = data.manifests[learn]
    whole = joined(
        [own]
        + [read_manifest(path, root, ("spk_id",)) for path, root in manifests]
    )
    return _dataset(whole, data, hparams), whole


def _dataset(manifest, data, hparams):
    """What the run's Brain can represent of a manifest."""
    sample_rate = hparams["model"]["sample_rate"]
    if not reads_words(hparams):
        return make_speech_dataset(manifest.rows, data.labels, sample_rate)
    # SpeechBrain pads no batch without any words; nobody hears these.
    own = data.manifests["train"].values("wrd")
    words = next(word for word in own if word)
    # What was left out of the training of CTC is left out here, too.
    kept = {
        row["ID"]: {**row, "wrd": row.get("wrd") or words}
        for row in manifest.rows
        if row["ID"] not in data.skipped
    }
    return make_dataset(kept, hparams["tokenizer"], data.labels, sample_rate)


def load_suite(path, taps, attributes, **settings):
    """An audit of the given taps with the attackers of a YAML block.

    Arguments
    ---------
    path : str or Path
        ``standard`` or ``thorough``, or a file like those in
        ``hparams/attacks``: ``speaker``, and perhaps ``attribute``, ``text``,
        ``waveform``, ``speeds`` and ``seed``.
    taps : dict
        Name -> ``Tap``.
    attributes : list of str
    **settings
        Further ones of ``Audit``.

    Returns
    -------
    Audit
    """
    path = Path(path)
    own = Path(__file__).parents[1] / f"hparams/attacks/{path}.yaml"
    if not path.is_file() and own.is_file():
        path = own
    if not path.is_file():
        raise FileNotFoundError(
            f"attackers are standard, thorough or a YAML file, not '{path}'"
        )
    with open(path, encoding="utf-8") as file:
        suite = load_hyperpyyaml(file)
    if "speaker" not in suite:
        raise ValueError(f"{path} names no attackers under 'speaker'")
    given = {key: suite[key] for key in ("speeds", "seed") if key in suite}
    return Audit(
        taps,
        suite["speaker"],
        suite.get("attribute") or {},
        attributes if suite.get("attribute") else [],
        text_attackers=suite.get("text"),
        waveform_attackers=suite.get("waveform"),
        **given,
        **settings,
    )
