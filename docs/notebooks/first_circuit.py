# %% [markdown]
# # First circuit
#
# A circuit of resistors, diodes and amplifiers learns the exclusive or. The experiment comes with the
# package; its name is enough.

# %%
import eqprop_spice as eq

experiment = eq.Experiment.load("xor", ["training.epochs=150"])
experiment.circuit

# %% [markdown]
# Training settles the circuit in ngspice, twice for every sample: free, and with a small current into its
# output. The difference tells every resistor how to change.

# %%
run = eq.train(experiment, "xor_run")
run

# %%
run.plot("loss")

# %% [markdown]
# The four patterns, with their inputs [V] below: a bar is the target, a dot the output.

# %%
run.plot("predictions")

# %% [markdown]
# The trained circuit as a drawing: the larger a conductance, the thicker its line. `xor_run/free.cir` is
# its netlist, which plain ngspice runs.

# %%
from eqprop_spice.results.schematic import schematic

schematic(experiment.circuit, run.params)
