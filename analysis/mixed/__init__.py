"""Linear mixed models with random intercepts: profiled REML and ML, exact small-sample inference, bootstrap.

Model, for n runs and K variance components:

    y = X beta + sum_k Z_k u_k + e,    u_k ~ N(0, tau_k^2 I),    e ~ N(0, sigma^2 I)

Intercepts may be crossed, nested, or gated by a 0/1 column, `(0 + kd | teacher)`. Everything depends on the data
through the variance ratios gamma_k = tau_k^2 / sigma^2:

    model.py       formula and table -> y, X, Z
    criterion.py   the profiled criterion, its gradient and curvature, for many responses at once
    optimise.py    its minimum: a grid, Newton from several starts, the boundary, and a report on what was done
    fit.py         estimates at the minimum
    inference.py   Kenward-Roger and Satterthwaite: t and F tests
    profile.py     profile likelihood intervals
    bootstrap.py   parametric bootstrap of likelihood ratios and estimates
    describe.py    best linear unbiased predictions, intraclass correlation, R squared
    means.py       estimated marginal means
"""
