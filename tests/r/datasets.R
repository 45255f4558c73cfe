# The data sets of fixtures.R: the published runs in five cuts, four simulated tables, four classical ones from lme4.
# Every function returns a data frame without factors; fixtures.R writes it, reads it back and sets the level orders.

PUBLISHED <- "reference/yasar2026-v2/runs.csv"
STUDENTS <- c("resnet18", "resnet34")
METHODS <- c("none", "feature", "logit")

# Accuracies are counts out of 10,000 images, so a percentage has two decimals and rounding loses nothing.
published_runs <- function() {
  runs <- subset(read.csv(PUBLISHED, na.strings = character()), stage == "final")
  stopifnot(nrow(runs) == 50)
  kd <- as.integer(runs$method != "none")
  table <- data.frame(
    student = runs$student,
    method = runs$method,
    teacher = ifelse(kd == 0, "alone", runs$teacher),
    seed = runs$seed,
    kd = kd,
    cell = ifelse(kd == 0, paste0(runs$student, ":none"), paste0(runs$teacher, ">", runs$student, ":", runs$method)),
    test_acc_best_pct = round(100 * as.numeric(runs$test_acc_best), 2),
    test_acc_final_pct = round(100 * as.numeric(runs$test_acc_final), 2)
  )
  table <- table[order(table$student, match(table$method, METHODS), table$teacher, table$seed), ]
  rownames(table) <- NULL
  table
}

# Gain over the same student and seed trained alone, best-validation checkpoint, percentage points.
gains <- function(runs) {
  alone <- subset(runs, kd == 0)
  distilled <- subset(runs, kd == 1)
  at <- match(paste(distilled$student, distilled$seed), paste(alone$student, alone$seed))
  distilled$gain_pp <- round(distilled$test_acc_best_pct - alone$test_acc_best_pct[at], 2)
  distilled[c("student", "method", "teacher", "seed", "gain_pp")]
}

# Baselines and the pairs of resnet50, the only teacher of both students.
teacher_matched <- function(runs) subset(runs, teacher %in% c("alone", "resnet50"))

# Six runs taken away, so that no two cells of one student keep the same seeds.
DROPPED <- c(
  "resnet18:none 4", "resnet34:none 1", "resnet34>resnet18:feature 0", "resnet50>resnet18:logit 2",
  "resnet50>resnet34:feature 1", "resnet101>resnet34:logit 3"
)

unbalanced <- function(runs) {
  kept <- subset(runs, !(paste(cell, seed) %in% DROPPED))
  stopifnot(nrow(kept) == 44)
  kept
}

# --- Simulated: six decimals, so that a decimal number means one double in every language. -------------------------

draw <- function(labels, sd) {
  levels <- unique(labels)
  setNames(rnorm(length(levels), sd = sd), levels)[as.character(labels)]
}

cell_means <- function(table) {
  gain <- c(none = 0, feature = 0.4, logit = 0.2)[table$method]
  large <- table$student == "resnet34"
  95 + 0.3 * large + (1 + 0.5 * large) * gain
}

# 8 teachers x 12 student:seed levels x 3 methods, 140 of 288 runs kept at random; both components clearly positive.
simulate_crossed <- function() {
  set.seed(11)
  table <- expand.grid(
    seed = 0:5, teacher = paste0("t", 1:8), method = METHODS, student = STUDENTS, stringsAsFactors = FALSE
  )[4:1]
  table <- table[sort(sample(nrow(table), 140)), ]
  table$acc_pct <- cell_means(table) + draw(table$teacher, 0.25) +
    draw(paste0(table$student, ":", table$seed), 0.2) + rnorm(nrow(table), sd = 0.15)
  table$acc_pct <- round(table$acc_pct, 6)
  table
}

# Batches b1..b3 within labs (labels reused), analysts crossed with both, a number beside a factor; 120 of 180 rows kept.
simulate_nested <- function() {
  set.seed(12)
  table <- expand.grid(
    run = 1:2, analyst = paste0("a", 1:5), batch = paste0("b", 1:3), lab = paste0("l", 1:6), stringsAsFactors = FALSE
  )[4:1]
  table <- table[sort(sample(nrow(table), 120)), ]
  table$dose <- round(runif(nrow(table), 0, 10), 3)
  table$method <- sample(c("old", "new"), nrow(table), replace = TRUE)
  table$yield_pct <- 60 + 0.8 * table$dose + 1.5 * (table$method == "new") + draw(table$lab, 3) +
    draw(paste(table$lab, table$batch), 2) + draw(table$analyst, 1.5) + rnorm(nrow(table))
  table$yield_pct <- round(table$yield_pct, 6)
  table$run <- NULL
  table
}

# The published layout with no seed effect at all; this draw puts the optimum on the border.
simulate_singular <- function(runs) {
  set.seed(17)
  table <- runs[c("student", "method", "teacher", "seed")]
  table$acc_pct <- round(cell_means(table) + rnorm(nrow(table), sd = 0.15), 6)
  table
}

# 14 teachers whose effect exists for distilled runs alone; two of five seeds for each teacher, student and method.
simulate_gated <- function() {
  set.seed(14)
  distilled <- expand.grid(
    slot = 1:2, teacher = sprintf("t%02d", 1:14), method = METHODS[2:3], student = STUDENTS, stringsAsFactors = FALSE
  )
  pair <- as.integer(factor(paste(distilled$student, distilled$method, distilled$teacher)))
  first <- sample(0:4, max(pair), replace = TRUE)[pair]
  distilled$seed <- (first + (distilled$slot - 1) * 2) %% 5
  alone <- expand.grid(seed = 0:4, student = STUDENTS, stringsAsFactors = FALSE)
  alone <- cbind(alone, method = "none", teacher = "alone")
  columns <- c("student", "method", "teacher", "seed")
  table <- rbind(alone[columns], distilled[columns])
  table$kd <- as.integer(table$method != "none")
  table$acc_pct <- cell_means(table) + table$kd * draw(table$teacher, 0.3) +
    draw(paste0(table$student, ":", table$seed), 0.15) + rnorm(nrow(table), sd = 0.15)
  table$acc_pct <- round(table$acc_pct, 6)
  table
}

# --- Classical, as lme4 ships them. ---------------------------------------------------------------------------------

classical <- function(name) {
  table <- as.data.frame(getExportedValue("lme4", name))
  table[] <- lapply(table, function(column) if (is.factor(column)) as.character(column) else column)
  table
}

all_datasets <- function() {
  runs <- published_runs()
  list(
    published = runs,
    published_gains = gains(runs),
    published_teacher_matched = teacher_matched(runs),
    published_unbalanced = unbalanced(runs),
    simulated_crossed = simulate_crossed(),
    simulated_nested = simulate_nested(),
    simulated_singular = simulate_singular(runs),
    simulated_gated = simulate_gated(),
    penicillin = classical("Penicillin"),
    pastes = classical("Pastes")[c("strength", "batch", "cask")],
    dyestuff2 = classical("Dyestuff2"),
    sleepstudy = classical("sleepstudy")
  )
}

# The fewest digits (15 to 17) that give the same double back; 17 always do.
shortest <- function(x) {
  text <- sprintf("%.15g", x)
  for (digits in 16:17) {
    differs <- as.numeric(text) != x
    text[differs] <- sprintf(paste0("%.", digits, "g"), x[differs])
  }
  text
}

write_dataset <- function(table, path) {
  text <- as.data.frame(lapply(table, function(column) if (is.numeric(column)) shortest(column) else column))
  write.csv(text, path, row.names = FALSE, quote = FALSE)
}
