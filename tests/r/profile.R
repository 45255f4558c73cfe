# 95% profile-likelihood intervals: where the signed root of the deviance's rise reaches qnorm(.975).
#
# lme4 walks along the profile and reads the ends off an interpolating spline, good to about four digits, so the ends
# are solved for here on lme4's deviance; lme4's own confint() stands beside them. Like lme4, a REML fit is profiled on
# its ML deviance; standard deviations also on the REML criterion (`*_reml`), where a bound of 0 means not reached.

RISE <- qchisq(0.95, 1)

# -2 log likelihood (or REML criterion) with sigma free: standard deviations of the components, then sigma.
free_deviance <- function(devfun, reml) {
  rho <- environment(devfun)
  function(par) {
    sigma2 <- par[length(par)]^2
    devfun(par[-length(par)] / par[length(par)])
    n <- length(rho$resp$y) - reml * ncol(rho$pp$X)
    rho$pp$ldL2() + reml * rho$pp$ldRX2() + (rho$resp$wrss() + rho$pp$sqrL(1)) / sigma2 + n * log(2 * pi * sigma2)
  }
}

# The deviance is even in a standard deviation, so an optimiser that touches 0 stays there: several starts, the lowest.
lowest <- function(f, start, lower, upper = Inf) {
  runs <- lapply(c(0.2, 1, 3), function(factor) {
    nlminb(pmax(lower, factor * start), f, lower = lower, upper = upper, control = list(rel.tol = 1e-14, x.tol = 1e-10))
  })
  min(vapply(runs, `[[`, 0, "objective"))
}

# The two ends on either side of `estimate`, where height(value) is the rise above the minimum less RISE.
ends <- function(height, estimate, step, lower = -Inf) {
  solve_side <- function(sign) {
    far <- estimate + sign * step
    while (far > lower && height(far) < 0) far <- estimate + 2 * (far - estimate)
    if (far <= lower && height(far <- lower) < 0) return(lower)
    uniroot(height, sort(c(estimate, far)), tol = 1e-11 * max(abs(estimate), step))$root
  }
  c(solve_side(-1), solve_side(1))
}

sd_ends <- function(formula, table, reml) {
  devfun <- deviance_function(formula, table, reml)
  found <- optimum(devfun)
  devfun(found$theta)
  rho <- environment(devfun)
  n <- length(rho$resp$y) - reml * ncol(rho$pp$X)
  sigma <- sqrt((rho$resp$wrss() + rho$pp$sqrL(1)) / n)
  par <- c(found$theta * sigma, sigma)
  lower <- c(rep(0, length(found$theta)), sigma / 20) # lme4's Cholesky fails at absurd ratios of the two
  upper <- 100 * max(par)
  f <- free_deviance(devfun, reml)
  stopifnot(abs(f(par) - found$deviance) < 1e-8)
  t(vapply(seq_along(par), function(k) {
    height <- function(value) {
      if (value == par[k]) return(-RISE)
      at <- function(x) f(replace(replace(par, k, value), -k, x))
      lowest(at, par[-k], lower[-k], upper) - found$deviance - RISE
    }
    ends(height, par[k], par[k] / 2, lower = lower[k])
  }, c(0, 0)))
}

# Fixed effects: at given theta the deviance rises by a known square, so only theta is left to minimise over.
beta_ends <- function(formula, table) {
  devfun <- deviance_function(formula, table, FALSE)
  found <- optimum(devfun)
  rho <- environment(devfun)
  n <- length(rho$resp$y)
  devfun(found$theta)
  estimates <- rho$pp$beta(1) + 0
  se <- sqrt(diag(rho$pp$unsc()) * (rho$resp$wrss() + rho$pp$sqrL(1)) / n)
  t(vapply(seq_along(estimates), function(j) {
    height <- function(value) {
      at <- function(theta) {
        devfun(theta)
        rss <- rho$resp$wrss() + rho$pp$sqrL(1) + (value - rho$pp$beta(1)[j])^2 / rho$pp$unsc()[j, j]
        rho$pp$ldL2() + n * (1 + log(2 * pi * rss / n))
      }
      lowest(at, found$theta, 0) - found$deviance - RISE
    }
    ends(height, estimates[j], 2 * se[j])
  }, c(0, 0)))
}

profile_intervals <- function(formula, table, reml, fit) {
  # profile() refits with the fit's optimizer, so it is given one that moves (nlminb is lost near sigma = 0 there).
  ml <- do.call(lme4::lmer, list(formula, data = table, REML = FALSE, control = control("bobyqa")))
  from_lme4 <- suppressWarnings(confint(ml, method = "profile", delta.cutoff = 1 / 32, maxpts = 500, quiet = TRUE))
  sds <- sd_ends(formula, table, FALSE)
  betas <- beta_ends(formula, table)
  result <- list(
    parameters = I(c(paste0("sd:", names(fit@cnms)), "sigma", names(lme4::fixef(fit)))),
    low = I(c(sds[, 1], betas[, 1])), high = I(c(sds[, 2], betas[, 2])),
    low_lme4 = I(unname(from_lme4[, 1])), high_lme4 = I(unname(from_lme4[, 2]))
  )
  if (reml) {
    sds_reml <- sd_ends(formula, table, TRUE)
    result$sd_low_reml <- I(sds_reml[, 1])
    result$sd_high_reml <- I(sds_reml[, 2])
  }
  result
}
