# %% [markdown]
# # Own data with scikit-learn
#
# A circuit is an estimator: it takes arrays, works in pipelines, and says what it predicts.

# %%
import eqprop_spice as eq
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split

X, y = load_wine(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)
model = eq.EqPropClassifier(hidden=10, epochs=40, random_state=0).fit(X_train, y_train)
print(f"{100 * model.score(X_test, y_test):.1f} % of the test samples are right")

# %%
model.plot("loss")

# %% [markdown]
# The features became source voltages, a class is the output with the highest voltage. The output
# voltages [V] of three samples, and what they mean:

# %%
print(model.outputs(X_test[:3]).round(3))
print(model.predict(X_test[:3]), model.predict_proba(X_test[:3]).round(3), sep="\n")

# %% [markdown]
# The circuit itself:

# %%
model.circuit_
