"""Classical inference that any estimate needs: equivalence, power, effect sizes, resampling."""
