"""The public pump rig (SKAB, valve 1): the first 400 rows of a run train, the others are judged."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score, matthews_corrcoef

from enms_core.detection import MachineDetector
from tests.plants import ROOT

FOLDER = ROOT.parent / "shared" / "data" / "skab" / "valve1"
TRAIN = 400

pytestmark = pytest.mark.skipif(
    not FOLDER.exists(), reason=f"the public data set is not in {FOLDER}"
)


def judged(path):
    frame = pd.read_csv(path, sep=";", index_col="datetime", parse_dates=True)
    sensors = frame.drop(columns=["anomaly", "changepoint"])
    flags = MachineDetector().fit(sensors[:TRAIN]).predict(sensors[TRAIN:])
    return frame["anomaly"].to_numpy(dtype=int)[TRAIN:], flags


def test_faults_of_a_pump_are_found():
    truth, flags = (np.concatenate(p) for p in zip(*map(judged, FOLDER.glob("*.csv")), strict=True))
    assert matthews_corrcoef(truth, flags) >= 0.70
    assert f1_score(truth, flags) >= 0.86
    assert flags[truth == 0].mean() <= 0.20
