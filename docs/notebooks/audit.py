# %% [markdown]
# # Audit of a published circuit
#
# Does a circuit follow the gradient of its loss? The audit compares the configured rule with the exact
# gradient, layer by layer, and names what keeps the circuit from it. Here it looks at a public circuit for
# the exclusive or, with all its conventions.

# %%
import eqprop_spice as eq

published = eq.Experiment.load("kiraz/xor_published")
eq.check_gradient(published, num_samples=4, num_parameters=20)

# %% [markdown]
# The same circuit with the causes taken away:

# %%
repaired = eq.Experiment.load("kiraz/xor_repaired")
found = eq.check_gradient(repaired, num_samples=4, num_parameters=20)
found

# %% [markdown]
# The relative error of the estimate over the nudge beta. The centered rule has a range of nudges that are
# small enough for the linear limit and large enough for the tolerances of the solver.

# %%
from eqprop_spice.audit.figures import bias_figure

bias_figure(found)
