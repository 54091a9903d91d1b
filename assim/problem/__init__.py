"""What is asked: models, observations, covariances, priors, and the departures built of them."""

from assim.problem import likelihood as likelihood
