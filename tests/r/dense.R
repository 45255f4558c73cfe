# A second road: dense matrices and analytic derivatives, at lme4's estimates but with none of the packages' code.
# Its only use is to measure how precise lme4, lmerTest and pbkrtest are on each fit (theirs is what the fixtures hold).
#
# V = sum_k s_k G_k with G_k = Z_k Z_k' and the identity last. Satterthwaite: Giesbrecht and Burns (1985), observed
# information. Kenward-Roger: Kenward and Roger (1997), expected information, G linear in s.

dense_parts <- function(fit) {
  X <- as.matrix(lme4::getME(fit, "X"))
  G <- lapply(lme4::getME(fit, "Ztlist"), function(Zt) as.matrix(Matrix::crossprod(Zt)))
  s <- c((lme4::getME(fit, "theta") * sigma(fit))^2, sigma(fit)^2)
  G <- unname(c(G, list(diag(nrow(X)))))
  W <- solve(Reduce(`+`, Map(`*`, s, G)))
  C <- solve(crossprod(X, W %*% X))
  y <- qr.resid(qr(X), lme4::getME(fit, "y")) # P removes X anyway; doing it first keeps digits
  list(X = X, y = y, G = G, s = s, W = W, C = C, P = W - W %*% X %*% C %*% t(X) %*% W)
}

# -2 log likelihood, or lme4's REML criterion, with every parameter at its estimate.
dense_criterion <- function(fit) {
  d <- dense_parts(fit)
  log_det <- function(A) c(determinant(A)$modulus)
  n <- length(d$y) - if (lme4::isREML(fit)) ncol(d$X) else 0
  n * log(2 * pi) - log_det(d$W) - (if (lme4::isREML(fit)) log_det(d$C) else 0) + c(t(d$y) %*% d$P %*% d$y)
}

trace <- function(A, B) sum(A * t(B))

# Degrees of freedom of one-row tests; components at zero are fixed there, as at an interior optimum without them.
dense_satterthwaite <- function(fit, rows) {
  d <- dense_parts(fit)
  G <- d$G[d$s > 0]
  inner <- if (lme4::isREML(fit)) d$P else d$W
  Py <- d$P %*% d$y
  information <- outer(seq_along(G), seq_along(G), Vectorize(function(i, j) {
    2 * c(t(Py) %*% G[[i]] %*% d$P %*% G[[j]] %*% Py) - trace(inner %*% G[[i]], inner %*% G[[j]])
  }))
  slopes <- lapply(G, function(g) d$C %*% t(d$X) %*% d$W %*% g %*% d$W %*% d$X %*% d$C)
  apply(rows, 1, function(l) {
    slope <- vapply(slopes, function(S) c(l %*% S %*% l), 0)
    c(2 * (l %*% d$C %*% l)^2 / (slope %*% (2 * solve(information)) %*% slope))
  })
}

# The adjusted covariance and the one-row degrees of freedom, with every component kept, zero or not.
dense_kenward_roger <- function(fit, rows) {
  d <- dense_parts(fit)
  index <- seq_along(d$G)
  expected <- outer(index, index, Vectorize(function(i, j) trace(d$P %*% d$G[[i]], d$P %*% d$G[[j]])))
  A <- 2 * solve(expected)
  P <- lapply(d$G, function(g) -t(d$X) %*% d$W %*% g %*% d$W %*% d$X)
  U <- 0
  for (i in index) {
    for (j in index) {
      Q <- t(d$X) %*% d$W %*% d$G[[i]] %*% d$W %*% d$G[[j]] %*% d$W %*% d$X
      U <- U + A[i, j] * (Q - P[[i]] %*% d$C %*% P[[j]])
    }
  }
  df <- apply(rows, 1, function(l) {
    slope <- vapply(P, function(p) c(l %*% d$C %*% p %*% d$C %*% l), 0) / c(l %*% d$C %*% l)
    2 / c(slope %*% A %*% slope) # for one row the general formula reduces to this
  })
  list(vcov = d$C + 2 * d$C %*% U %*% d$C, df = df)
}

largest_relative <- function(a, b) max(abs(a - b) / abs(b))
