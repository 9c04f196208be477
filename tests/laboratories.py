"""The two laboratories of the shipped cohort that have cells enough to be compared."""

BARCELONA = "Hospital Clinic Barcelona, healthy donors"
JOHNS_HOPKINS = "Johns Hopkins, patients with acute leukaemia"
