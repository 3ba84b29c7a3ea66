"""A boundary detector that learns without labels, and how good it is.

> python train.py hparams/next_frame.yaml --data_folder ROOT

Any speech with manifests (ID, duration, wav, spk_id) instead of the recipe's
corpus, and alignments (utt_id,start,end,phone) of the test manifest:

> python train.py hparams/next_frame.yaml --data_folder ROOT \
>     --train_manifest a.csv --valid_manifest b.csv --test_manifest c.csv \
>     --alignments c_phones.csv

Results: <output_folder>/boundaries.json (this detector, those that learn
nothing, and two that do not listen), efficiency.json, train_log.txt, and the
detector in <output_folder>/save/CKPT*/encoder.ckpt.
"""

import sys
from dataclasses import asdict
from pathlib import Path

import speechbrain as sb
from hyperpyyaml import load_hyperpyyaml
from speechbrain.utils.distributed import ddp_init_group, if_main_process

from speechbrain_privacy.audit.provenance import identity
from speechbrain_privacy.brains.processes import leave
from speechbrain_privacy.dataio.alignments import load_alignments
from speechbrain_privacy.dataio.files import write_json
from speechbrain_privacy.dataio.settings import check_overrides, check_settings
from speechbrain_privacy.dataio.speech import load_speech_data
from speechbrain_privacy.experiments import choose_manifests, fit
from speechbrain_privacy.masking.evaluation import (
    check_scored,
    evaluate_detectors,
)
from speechbrain_privacy.report.boundaries import format_detectors

SPLITS = ("train", "valid", "test", "probe")

if __name__ == "__main__":
    # Other recipes link to this script; what prepares a corpus lies beside it.
    sys.path.insert(0, str(Path(sys.argv[0]).parent))
    hparams_file, run_opts, overrides = sb.parse_arguments(sys.argv[1:])
    check_overrides(hparams_file, overrides)
    ddp_init_group(run_opts)
    with open(hparams_file, encoding="utf-8") as file:
        hparams = load_hyperpyyaml(file, overrides)
    check_settings(hparams_file, overrides, hparams["output_folder"])
    sb.create_experiment_directory(
        experiment_directory=hparams["output_folder"],
        hyperparams_to_save=hparams_file,
        overrides=overrides,
    )

    # What goes in, and whether it can be scored.
    manifests = choose_manifests(
        {split: hparams[f"{split}_manifest"] for split in SPLITS},
        hparams["manifest_folder"],
        hparams["prepare"],
    )
    if not hparams["alignments"]:
        manifests.pop("probe", None)
    data = load_speech_data(
        manifests,
        hparams["attributes"],
        save_folder=hparams["save_folder"],
        data_folder=hparams["data_folder"],
        sample_rate=hparams["sample_rate"],
    )
    probed = data.manifests.get("probe", data.manifests["test"])
    alignments = load_alignments(hparams["alignments"], [probed])
    if alignments:
        check_scored(probed, alignments, hparams["rates"])

    brain = hparams["brain"](
        modules=hparams["modules"],
        hparams=hparams,
        run_opts=run_opts,
        checkpointer=hparams["checkpointer"],
        n_classes=data.labels.sizes,
    )
    fit(
        brain,
        data,
        hparams["output_folder"],
        batch_seconds=hparams["batch_seconds"],
        num_buckets=hparams["num_buckets"],
        num_workers=hparams["num_workers"],
        seed=hparams["seed"],
    )

    if if_main_process() and alignments:
        folder = hparams["output_folder"]
        found = evaluate_detectors(
            probed,
            alignments,
            rates=hparams["rates"],
            sample_rate=hparams["sample_rate"],
            seed=hparams["seed"],
            learnt_from=folder,
        )
        print(f"\n{format_detectors(found)}")
        write_json(
            Path(folder) / "boundaries.json",
            {
                **identity(
                    brain, data, hparams["name"], hparams["seed"], folder
                ),
                "scored": probed.fingerprint(),
                "detectors": [
                    {**row, "report": asdict(row["report"])} for row in found
                ],
            },
        )

    leave()
