#!/usr/bin/env Rscript
# R's side of `make bench`: lme4 and pbkrtest on the primary model of the published runs and on a model with two crossed
# components. Prints one JSON object.
# Rscript tests/r/speed.R [repetitions, default 50] [simulate-and-refit draws, default 1000]

suppressPackageStartupMessages({
  library(lme4)
  library(pbkrtest)
})
arguments <- commandArgs(trailingOnly = TRUE)
number <- function(position, default) {
  if (length(arguments) < position) return(default)
  value <- suppressWarnings(as.integer(arguments[position]))
  if (is.na(value) || value < 1) stop("expected a whole number of at least 1, found '", arguments[position], "'")
  value
}
repetitions <- number(1, 50L)
draws <- number(2, 1000L)

script <- sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE))
read_runs <- function(name) {
  runs <- read.csv(file.path(dirname(script), "data", name))
  runs$method <- factor(runs$method, c("none", "feature", "logit"))
  runs$seed <- factor(runs$seed)
  runs
}

quiet <- lmerControl(check.conv.singular = "ignore")

measure <- function(formula, runs, repetitions, draws) {
  response <- all.vars(formula)[1]
  fit <- function(table = runs) lmer(formula, table, control = quiet)

  # The same from a formula that is already coded: lmer() in its documented steps, without the first.
  coded <- lFormula(formula, runs, control = quiet)
  fit_coded <- function() {
    criterion <- do.call(mkLmerDevfun, coded)
    optimum <- optimizeLmer(criterion)
    mkMerMod(environment(criterion), optimum, coded$reTrms, fr = coded$fr)
  }

  kenward_roger_table <- function() {
    model <- fit()
    adjusted <- vcovAdj(model)
    df <- apply(diag(length(fixef(model))), 1, Lb_ddf, vcov(model), adjusted)
    t <- fixef(model) / sqrt(diag(as.matrix(adjusted)))
    cbind(fixef(model), t, df, 2 * pt(-abs(t), df))
  }

  median_ms <- function(work) {
    work() # the first call loads code
    median(replicate(repetitions, system.time(work(), gcFirst = FALSE)[["elapsed"]] * 1000))
  }

  # A fresh lmer for each draw (refit() is quicker but stops early after a singular draw), quiet about singular ones.
  seconds_per_1000 <- function() {
    set.seed(1)
    draw <- simulate(fit(), draws)
    refitted <- runs
    elapsed <- system.time(for (column in draw) {
      refitted[[response]] <- column
      suppressWarnings(fit(refitted))
    })[["elapsed"]]
    elapsed * 1000 / draws
  }

  # lme4's quicker road: refit() from a regular fit.
  seconds_per_1000_refit <- function() {
    set.seed(1)
    model <- fit()
    draw <- simulate(model, draws)
    elapsed <- system.time(for (column in draw) suppressMessages(suppressWarnings(refit(model, column))))[["elapsed"]]
    elapsed * 1000 / draws
  }

  list(
    fit_median_ms = median_ms(fit), fit_coded_median_ms = median_ms(fit_coded),
    fit_and_kenward_roger_median_ms = median_ms(kenward_roger_table),
    simulate_and_fit_seconds_per_1000 = seconds_per_1000(),
    simulate_and_refit_seconds_per_1000 = seconds_per_1000_refit()
  )
}

primary <- test_acc_best_pct ~ student * method + (1 | student:seed)
crossed <- acc_pct ~ student * method + (1 | teacher) + (1 | student:seed)
result <- list(
  repetitions = repetitions, draws = draws,
  primary = measure(primary, read_runs("published.csv"), repetitions, draws),
  crossed = measure(crossed, read_runs("simulated_crossed.csv"), repetitions, draws),
  versions = list(
    R = paste(R.version$major, R.version$minor, sep = "."),
    lme4 = as.character(packageVersion("lme4")), pbkrtest = as.character(packageVersion("pbkrtest"))
  )
)
cat(jsonlite::toJSON(result, auto_unbox = TRUE, digits = 4, pretty = TRUE), "\n", sep = "")
