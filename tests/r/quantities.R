# What the fixtures hold of one fit. Each function takes the polished fit and returns a plain named list;
# I() marks what must stay an array in JSON when it has one entry.

fixed_effects <- function(fit) {
  covariance <- unname(as.matrix(vcov(fit)))
  list(
    names = I(names(lme4::fixef(fit))), beta = I(unname(lme4::fixef(fit))), se = I(sqrt(diag(covariance))),
    vcov = covariance
  )
}

# One entry a random term, in lme4's order (most levels first). A BLUP's sd is conditional on the estimated
# parameters, fixed effects included.
components <- function(fit) {
  blups <- as.data.frame(lme4::ranef(fit, condVar = TRUE))
  sds <- lapply(lme4::VarCorr(fit), function(block) unname(attr(block, "stddev")))
  lapply(seq_along(fit@cnms), function(k) {
    group <- names(fit@cnms)[k]
    own <- blups[blups$grpvar == group, ]
    list(
      group = group, factors = I(strsplit(group, ":")[[1]]), coefficient = fit@cnms[[k]],
      theta = unname(lme4::getME(fit, "theta")[k]), sd = sds[[group]],
      blups = list(level = I(as.character(own$grp)), value = I(own$condval), sd = I(own$condsd))
    )
  })
}

# Nakagawa and Schielzeth (2013); a 0/1-gated component counts by its mean over the rows (Johnson 2014).
r_squared <- function(fit) {
  fixed <- stats::var(c(as.matrix(lme4::getME(fit, "X")) %*% lme4::fixef(fit)))
  shares <- vapply(lme4::getME(fit, "Ztlist"), function(Zt) mean(Matrix::colSums(Zt^2)), 0)
  random <- sum(shares * (lme4::getME(fit, "theta") * sigma(fit))^2)
  total <- fixed + random + sigma(fit)^2
  list(marginal = fixed / total, conditional = (fixed + random) / total)
}

satterthwaite <- function(fit, tests) {
  model <- lmerTest::as_lmerModLmerTest(fit)
  rows <- diag(length(lme4::fixef(fit)))
  table <- do.call(rbind, lapply(seq_len(nrow(rows)), function(i) lmerTest::contest1D(model, rows[i, ])))
  list(
    df = I(table$df), t = I(table$`t value`), p = I(table$`Pr(>|t|)`),
    tests = lapply(tests, function(L) {
      F <- lmerTest::contestMD(model, L)
      list(F = F$`F value`, ndf = F$NumDF, ddf = F$DenDF, p = F$`Pr(>F)`)
    })
  )
}

kenward_roger <- function(fit, tests) {
  adjusted <- pbkrtest::vcovAdj(fit)
  rows <- diag(length(lme4::fixef(fit)))
  df <- apply(rows, 1, pbkrtest::Lb_ddf, vcov(fit), adjusted)
  se <- sqrt(diag(as.matrix(adjusted)))
  t <- unname(lme4::fixef(fit)) / se
  list(
    vcov = matrix(as.numeric(as.matrix(adjusted)), nrow(rows)),
    se = I(unname(se)), df = I(df), t = I(unname(t)), p = I(unname(2 * pt(-abs(t), df))),
    tests = lapply(tests, function(L) {
      F <- pbkrtest::KRmodcomp(fit, L)$stats
      list(
        F = F$Fstat, ndf = F$ndf, ddf = F$ddf, p = F$p.value, F_scaling = F$F.scaling,
        F_unscaled = F$FstatU, p_unscaled = F$p.valueU
      )
    })
  )
}

# Cell means, and what a method gains over another in resnet34 minus what it gains in resnet18, Holm over the contrasts.
marginal_means <- function(fit) {
  method <- if (lme4::isREML(fit)) "kenward-roger" else "satterthwaite"
  means <- emmeans::emmeans(fit, ~ student * method, lmer.df = method)
  cells <- as.data.frame(means)
  methods <- levels(cells$method)
  pairs <- if ("none" %in% methods) list(c("feature", "none"), c("logit", "none")) else list(c("feature", "logit"))
  weights <- lapply(pairs, function(pair) {
    ((cells$method == pair[1]) - (cells$method == pair[2])) * ifelse(cells$student == "resnet34", 1, -1)
  })
  names(weights) <- vapply(pairs, paste, "", collapse = " - ")
  contrasts <- emmeans::contrast(means, weights)
  plain <- as.data.frame(summary(contrasts, adjust = "none"))
  holm <- as.data.frame(summary(contrasts, adjust = "holm"))
  list(
    df_method = method,
    cells = list(
      student = I(as.character(cells$student)), method = I(as.character(cells$method)),
      estimate = I(cells$emmean), se = I(cells$SE), df = I(cells$df)
    ),
    moderation = list(
      contrast = I(as.character(plain$contrast)), estimate = I(plain$estimate), se = I(plain$SE), df = I(plain$df),
      t = I(plain$t.ratio), p = I(plain$p.value), p_holm = I(holm$p.value)
    )
  )
}

likelihood_ratio <- function(criterion, null_formula, full_fit, table) {
  null <- polished_fit(null_formula, table, FALSE)
  chisq <- null$criterion - criterion
  df <- length(lme4::fixef(full_fit)) - length(lme4::fixef(null$fit))
  list(
    null_formula = deparse1(null_formula), null_deviance = null$criterion, chisq = chisq, df = df,
    p = pchisq(chisq, df, lower.tail = FALSE)
  )
}

# How far lme4, lmerTest and pbkrtest stand from dense.R: the criterion (absolute), one-row df and adjusted SE (largest
# relative difference).
precision <- function(fit, criterion, satterthwaite, kenward_roger) {
  rows <- diag(length(lme4::fixef(fit)))
  result <- list(
    criterion = abs(criterion - dense_criterion(fit)),
    satterthwaite_df = largest_relative(satterthwaite$df, dense_satterthwaite(fit, rows))
  )
  if (!is.null(kenward_roger)) {
    dense <- dense_kenward_roger(fit, rows)
    result$kenward_roger_df <- largest_relative(kenward_roger$df, dense$df)
    result$kenward_roger_se <- largest_relative(kenward_roger$se, sqrt(diag(dense$vcov)))
  }
  result
}
