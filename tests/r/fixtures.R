#!/usr/bin/env Rscript
# What lme4, lmerTest, pbkrtest and emmeans say of 20 fits: writes tests/r/data/*.csv and tests/r/fixtures.json.
# From the project's root: Rscript tests/r/fixtures.R. Same bytes every time. See README.md beside this file.

HERE <- "tests/r"
if (!file.exists(file.path(HERE, "fixtures.R"))) stop("run from the project's root: Rscript tests/r/fixtures.R")

# The last bits of sums inside lme4's libraries depend on where memory happens to lie, so the script runs itself again
# with the kernel's address randomisation off. Where that is refused, digits from about the 11th on vary between runs.
if (Sys.getenv("FIXED_ADDRESSES") == "") {
  Sys.setenv(FIXED_ADDRESSES = "yes")
  setarch <- Sys.which("setarch")
  if (nzchar(setarch) && system2(setarch, c("-R", "true"), stderr = FALSE) == 0) {
    again <- c("-R", file.path(R.home("bin"), "Rscript"), file.path(HERE, "fixtures.R"))
    quit(status = system2(setarch, again))
  }
  message("setarch -R is not to be had here: the last digits may differ from the committed ones")
}

suppressPackageStartupMessages({
  library(lme4)
  library(lmerTest)
  library(pbkrtest)
  library(emmeans)
  library(jsonlite)
})
for (part in c("datasets", "polish", "dense", "profile", "quantities")) source(file.path(HERE, paste0(part, ".R")))
RNGkind("Mersenne-Twister", "Inversion", "Rejection")
options(contrasts = c("contr.treatment", "contr.poly"), warn = 2)

PAIRS <- c(
  "resnet18:none", "resnet34>resnet18:feature", "resnet34>resnet18:logit", "resnet50>resnet18:feature",
  "resnet50>resnet18:logit", "resnet34:none", "resnet50>resnet34:feature", "resnet50>resnet34:logit",
  "resnet101>resnet34:feature", "resnet101>resnet34:logit"
)
STUDY <- list(student = STUDENTS, method = METHODS)
PRIMARY <- "student * method + (1 | student:seed)"

# levels: fixed-effect factors and their orders, treatment coding, first level the reference.
# tests: named sets of coefficients that are zero together; the student:method interaction is added where there is one.
combination <- function(dataset, formula, reml = TRUE, levels = list(), tests = list(), profile = FALSE, null = NULL) {
  list(dataset = dataset, formula = formula, reml = reml, levels = levels, tests = tests, profile = profile, null = null)
}

COMBINATIONS <- list(
  primary = combination("published", paste("test_acc_best_pct ~", PRIMARY), levels = STUDY, profile = TRUE),
  primary_final = combination("published", paste("test_acc_final_pct ~", PRIMARY), levels = STUDY),
  primary_ml = combination(
    "published", paste("test_acc_best_pct ~", PRIMARY), FALSE, STUDY,
    null = "test_acc_best_pct ~ student + method + (1 | student:seed)"
  ),
  pairs = combination(
    "published", "test_acc_best_pct ~ cell + (1 | student:seed)",
    levels = list(cell = PAIRS),
    tests = list(two = c("cellresnet34>resnet18:feature", "cellresnet50>resnet34:logit"))
  ),
  gain = combination(
    "published_gains", "gain_pp ~ student * method + (1 | teacher) + (1 | student:seed)",
    levels = list(student = STUDENTS, method = METHODS[2:3]),
    tests = list(student_and_interaction = c("studentresnet34", "studentresnet34:methodlogit"))
  ),
  gain_without_teacher = combination(
    "published_gains", "gain_pp ~ student * method + (1 | student:seed)",
    levels = list(student = STUDENTS, method = METHODS[2:3]),
    tests = list(student_and_interaction = c("studentresnet34", "studentresnet34:methodlogit"))
  ),
  primary_gated_teacher = combination(
    "published", paste("test_acc_best_pct ~", PRIMARY, "+ (0 + kd | teacher)"),
    levels = STUDY
  ),
  teacher_matched = combination("published_teacher_matched", paste("test_acc_best_pct ~", PRIMARY), levels = STUDY),
  unbalanced = combination("published_unbalanced", paste("test_acc_best_pct ~", PRIMARY), levels = STUDY, profile = TRUE),
  unbalanced_ml = combination(
    "published_unbalanced", paste("test_acc_best_pct ~", PRIMARY), FALSE, STUDY,
    null = "test_acc_best_pct ~ student + method + (1 | student:seed)"
  ),
  crossed = combination(
    "simulated_crossed", "acc_pct ~ student * method + (1 | teacher) + (1 | student:seed)",
    levels = STUDY, profile = TRUE
  ),
  crossed_ml = combination(
    "simulated_crossed", "acc_pct ~ student * method + (1 | teacher) + (1 | student:seed)", FALSE, STUDY,
    null = "acc_pct ~ student + method + (1 | teacher) + (1 | student:seed)"
  ),
  nested = combination(
    "simulated_nested", "yield_pct ~ dose + method + (1 | lab/batch) + (1 | analyst)",
    levels = list(method = c("old", "new")), tests = list(two = c("dose", "methodnew"))
  ),
  singular = combination("simulated_singular", paste("acc_pct ~", PRIMARY), levels = STUDY),
  gated = combination("simulated_gated", paste("acc_pct ~", PRIMARY, "+ (0 + kd | teacher)"), levels = STUDY),
  penicillin = combination(
    "penicillin", "diameter ~ 1 + (1 | plate) + (1 | sample)",
    tests = list(one = "(Intercept)"), profile = TRUE
  ),
  pastes = combination("pastes", "strength ~ 1 + (1 | batch/cask)", tests = list(one = "(Intercept)")),
  pastes_ml = combination("pastes", "strength ~ 1 + (1 | batch/cask)", FALSE, tests = list(one = "(Intercept)")),
  dyestuff2 = combination("dyestuff2", "Yield ~ 1 + (1 | Batch)", tests = list(one = "(Intercept)")),
  sleepstudy = combination(
    "sleepstudy", "Reaction ~ Days + (1 | Subject)",
    tests = list(two = c("(Intercept)", "Days")), profile = TRUE
  )
)

data_path <- function(name) file.path(HERE, "data", paste0(name, ".csv"))

# What was written is what is fitted; grouping columns become factors, so that 0 and 10 are labels, not numbers.
read_dataset <- function(name, formula, levels) {
  table <- read.csv(data_path(name), na.strings = character())
  for (column in names(levels)) table[[column]] <- factor(table[[column]], levels[[column]])
  groups <- unlist(lapply(lme4::findbars(formula), function(bar) all.vars(bar[[3]])))
  for (column in groups) if (!is.factor(table[[column]])) table[[column]] <- factor(table[[column]])
  stopifnot(!anyNA(table))
  table
}

restriction <- function(coefficients, names) {
  stopifnot(coefficients %in% names)
  diag(length(names))[match(coefficients, names), , drop = FALSE]
}

describe <- function(name, spec) {
  message(name)
  formula <- as.formula(spec$formula)
  table <- read_dataset(spec$dataset, formula, spec$levels)
  polished <- polished_fit(formula, table, spec$reml)
  fit <- polished$fit
  names <- names(fixef(fit))
  study <- all(c("student", "method") %in% all.vars(formula))
  sets <- spec$tests
  if (study) sets <- c(list(interaction = grep("^student.*:method", names, value = TRUE)), sets)
  tests <- lapply(sets, restriction, names)
  satterthwaite <- satterthwaite(fit, tests)
  kenward_roger <- if (spec$reml) kenward_roger(fit, tests)
  entry <- list(
    dataset = paste0("data/", spec$dataset, ".csv"), response = all.vars(formula)[1], formula = spec$formula,
    reml = spec$reml, levels = lapply(spec$levels, I), n = nrow(table),
    fixed = fixed_effects(fit),
    theta = I(unname(getME(fit, "theta"))), components = components(fit), sigma = sigma(fit),
    criterion = polished$criterion, singular = isSingular(fit), r2 = r_squared(fit),
    tests = lapply(tests, function(L) list(L = L)),
    satterthwaite = satterthwaite, kenward_roger = kenward_roger,
    emmeans = if (study) marginal_means(fit),
    profile = if (spec$profile) profile_intervals(formula, table, spec$reml, fit),
    lrt = if (!is.null(spec$null)) likelihood_ratio(polished$criterion, as.formula(spec$null), fit, table),
    checks = c(
      list(
        gradient = max(0, abs(polished$found$gradient)), border_slope = I(polished$found$border_slope),
        default_excess = polished$default_excess
      ),
      precision(fit, polished$criterion, satterthwaite, kenward_roger)
    ) |> lapply(signif, 2)
  )
  entry[!vapply(entry, is.null, TRUE)]
}

# Numbers as text, up to 17 significant digits: toJSON itself stops at 15.
exact <- function(x) {
  if (is.list(x)) return(lapply(x, exact))
  if (!is.numeric(x)) return(x)
  stopifnot(all(is.finite(x)))
  text <- shortest(x)
  if (is.matrix(x)) {
    dim(text) <- dim(x)
    text <- paste0("[", apply(text, 1, paste, collapse = ", "), "]")
  }
  if (is.matrix(x) || inherits(x, "AsIs")) text <- paste0("[", paste(text, collapse = ", "), "]")
  structure(text, class = "json")
}

PACKAGES <- c("lme4", "lmerTest", "pbkrtest", "emmeans", "Matrix", "numDeriv", "jsonlite")
versions <- c(
  R = paste(R.version$major, R.version$minor, sep = "."),
  sapply(PACKAGES, function(package) as.character(packageVersion(package)))
)

datasets <- all_datasets()
for (name in names(datasets)) {
  write_dataset(datasets[[name]], data_path(name))
  back <- read.csv(data_path(name), na.strings = character())
  stopifnot(identical(names(back), names(datasets[[name]])), unlist(Map(`==`, back, datasets[[name]])))
}
fixtures <- list(
  made_by = "Rscript tests/r/fixtures.R", versions = as.list(versions),
  combinations = Map(describe, names(COMBINATIONS), COMBINATIONS)
)
json <- toJSON(exact(fixtures), auto_unbox = TRUE, json_verbatim = TRUE, pretty = TRUE)
writeLines(json, file.path(HERE, "fixtures.json"))
