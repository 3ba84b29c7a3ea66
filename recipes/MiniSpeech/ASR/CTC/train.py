"""CTC speech recognition, plain or adversarial, then audited.

> python train.py hparams/NAME.yaml --data_folder ROOT

Any corpus with manifests (ID, duration, wav, wrd, spk_id, gender) instead of
the recipe's:

> python train.py hparams/NAME.yaml --data_folder ROOT \
>     --train_manifest a.csv --valid_manifest b.csv --test_manifest c.csv

Results: <output_folder>/results.json (error rates), audit.json (attackers),
train_log.txt, test_transcripts.csv.
"""

import sys
from pathlib import Path

import speechbrain as sb
from hyperpyyaml import load_hyperpyyaml
from speechbrain.utils.distributed import ddp_init_group, if_main_process

from speechbrain_privacy.audit.checks import check_audit, check_taps
from speechbrain_privacy.brains.processes import leave
from speechbrain_privacy.dataio.asr import load_asr_data
from speechbrain_privacy.dataio.balance import check_balance
from speechbrain_privacy.dataio.settings import check_overrides, check_settings
from speechbrain_privacy.experiments import (
    SPLITS,
    audit,
    choose_manifests,
    evaluate,
    fit,
)
from speechbrain_privacy.report.summary import print_runs

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

    # What goes in: the recipe's manifests or the user's.
    manifests = choose_manifests(
        {split: hparams[f"{split}_manifest"] for split in SPLITS},
        hparams["manifest_folder"],
        hparams["prepare"],
    )
    data = load_asr_data(
        manifests,
        hparams["tokenizer"],
        hparams["attributes"],
        save_folder=hparams["save_folder"],
        data_folder=hparams["data_folder"],
        sample_rate=hparams["model"]["sample_rate"],
        frames_per_second=hparams["model"]["frames_per_second"],
    )

    manifests = data.manifests
    check_balance(manifests["train"], hparams["balance"])
    check_audit(hparams["audit"], manifests["train"], manifests["test"])

    # Which Brain: its adversaries, if any, read the labels of the data.
    brain = hparams["brain"](
        modules=hparams["modules"],
        hparams=hparams,
        run_opts=run_opts,
        checkpointer=hparams["checkpointer"],
        n_classes=data.labels.sizes,
    )
    check_taps(hparams["audit"].taps, brain)
    fit(
        brain,
        data,
        hparams["output_folder"],
        batch_seconds=hparams["batch_seconds"],
        num_buckets=hparams["num_buckets"],
        num_workers=hparams["num_workers"],
        seed=hparams["seed"],
        balance=hparams["balance"],
        builds_on={"weights": hparams["model"].get("weights")},
    )

    # Which audit: fresh attackers on what the model has become.
    if if_main_process():
        folder = hparams["output_folder"]
        evaluate(brain, data, folder, hparams["name"], hparams["seed"])
        audit(brain, data, hparams["audit"], folder)
        print_runs([folder])

    leave()
