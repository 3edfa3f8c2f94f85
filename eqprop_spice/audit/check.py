"""The audit of an experiment or a run, of whatever system."""

import dataclasses
from collections.abc import Mapping

from eqprop_spice.arrays import Array
from eqprop_spice.audit.case import Case
from eqprop_spice.audit.report import Audit, audit
from eqprop_spice.audit.system import SystemAudit, audit_system
from eqprop_spice.experiment.experiment import Experiment
from eqprop_spice.results.run import Run


def check_gradient(
    what: Run | Experiment,
    *,
    params: Mapping[str, Array] | None = None,
    num_samples: int = 16,
    num_parameters: int = 100,
    seed: int = 0,
) -> Audit | SystemAudit:
    """Tell whether a system follows the gradient of its loss; of a circuit also why not.

    Args:
        what: A run, which is audited where its training has come, or an experiment.
        params: Parameters, such as conductances [S]; those of the run, or the starting ones of the
            experiment, if None.
        num_samples: Training samples to use; all where there are fewer.
        num_parameters: Parameters to vary one by one; all where there are fewer.
        seed: Seed of both choices.

    Raises:
        ConfigError: If a number is below one, or the system cannot be audited.
    """
    experiment = what.experiment if isinstance(what, Run) else what
    if params is None and isinstance(what, Run):
        params = what.params
    name = experiment.table.name
    if isinstance(what, Run):
        name = f"{name}: {what.name}"
    if experiment.table.circuit is None:
        found = audit_system(
            experiment,
            params=params,
            num_samples=num_samples,
            num_parameters=num_parameters,
            seed=seed,
        )
        return dataclasses.replace(found, name=name)
    case = Case.from_experiment(
        experiment,
        params=params,
        num_samples=num_samples,
        num_conductances=num_parameters,
        seed=seed,
    )
    return audit(dataclasses.replace(case, name=name))
