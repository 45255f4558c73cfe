# Optima of lme4's deviance to about ten digits, and the lme4 fit that stands exactly there.
#
# lme4's own optimisers stop at about 1e-4 to 1e-6 in theta. Here every set of components that could be zero is tried:
# the rest is minimised from several starts, then brought to a zero gradient by Newton steps with Richardson
# derivatives. The smallest set whose deviance no larger set improves is the optimum; its zeros are exact.

STARTS <- c(0.05, 0.5, 1, 3)
GAIN <- 1e-9 # a larger set must lower the deviance by more than this

# An "optimizer" for lmer that stays where it starts.
hold_start <- function(fn, par, lower, upper, control) {
  list(par = par, fval = fn(par), conv = 0, message = "held at the polished optimum")
}

richardson <- list(d = 0.01, r = 6)

minimise_free <- function(f, count) {
  runs <- lapply(STARTS, function(start) {
    nlminb(rep(start, count), f, lower = 0, control = list(rel.tol = 1e-15, x.tol = 1e-12, eval.max = 2000, iter.max = 1000))
  })
  x <- runs[[which.min(vapply(runs, `[[`, 0, "objective"))]]$par
  for (iteration in 1:20) {
    if (any(x < 1e-4)) break # on its way to the border: the smaller set will have this deviance
    step <- solve(numDeriv::hessian(f, x), numDeriv::grad(f, x, method.args = richardson))
    if (any(x - step <= 0)) break
    x <- x - step
    if (max(abs(step)) < 1e-12) break
  }
  x
}

# Theta at the optimum and the evidence for it: `gradient` of the positive entries, and for each zero entry the
# derivative of the deviance in theta^2, which must not be negative.
optimum <- function(devfun) {
  lower <- environment(devfun)$lower
  sets <- lapply(0:(2^length(lower) - 1), function(code) bitwAnd(code, 2^(seq_along(lower) - 1)) > 0)
  best <- list(deviance = Inf)
  for (free in sets[order(vapply(sets, sum, 0L))]) {
    at <- function(x) replace(numeric(length(free)), free, x)
    f <- function(x) devfun(at(x))
    x <- if (any(free)) minimise_free(f, sum(free)) else numeric()
    if (f(x) < best$deviance - GAIN) best <- list(deviance = f(x), theta = at(x), free = free)
  }
  f <- function(x) devfun(replace(best$theta, best$free, x))
  slope <- function(entry, h = 1e-3) (devfun(replace(best$theta, entry, h)) - best$deviance) / h^2
  gradient <- if (any(best$free)) numDeriv::grad(f, best$theta[best$free], method.args = richardson) else numeric()
  border_slope <- vapply(which(!best$free), slope, 0)
  stopifnot(max(0, abs(gradient)) < 1e-7, all(border_slope > 0))
  list(theta = best$theta, deviance = best$deviance, gradient = gradient, border_slope = border_slope)
}

control <- function(optimizer, ...) {
  lme4::lmerControl(optimizer, calc.derivs = FALSE, check.conv.singular = "ignore", ...)
}

deviance_function <- function(formula, table, reml) {
  do.call(lme4::lmer, list(formula, data = table, REML = reml, devFunOnly = TRUE))
}

# The lmerMod at the optimum. `default_excess` is how far lme4's own optimiser stays above it.
polished_fit <- function(formula, table, reml) {
  found <- optimum(deviance_function(formula, table, reml))
  fit <- do.call(lme4::lmer, list(
    formula,
    data = table, REML = reml, start = found$theta,
    control = control("hold_start", restart_edge = FALSE, boundary.tol = 0)
  ))
  stopifnot(identical(unname(lme4::getME(fit, "theta")), found$theta))
  default <- do.call(lme4::lmer, list(formula, data = table, REML = reml, control = control("nloptwrap")))
  criterion <- function(model) unname(lme4::getME(model, "devcomp")$cmp[if (reml) "REML" else "dev"])
  excess <- criterion(default) - criterion(fit)
  stopifnot(excess > -1e-9)
  list(fit = fit, found = found, criterion = criterion(fit), default_excess = excess)
}
