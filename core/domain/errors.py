"""Every error a user can cause or meet, as one tree; each message says what was expected, what came, and what to do.

CoreError
|-- ImageError              the image cannot be read or used
|-- MaskError               a mask does not fit its coding or its image
|-- DataSetError            a folder or table of a data set is not as described
|-- ModelError              no model, a damaged one, or one whose contract does not match
|   `-- ProviderError       the requested execution provider is not there
|-- RecordError             a file of settings or of a record is not as described
|-- FeatureError            a feature was asked for that the catalogue does not have
|-- SelectionError          a selection, gate or link of the explorer that cannot be used
|-- StoreError              the cohort cannot be read or written
|   `-- ConflictError       somebody else has changed the same thing meanwhile
|-- QueryError              SQL of a person that is refused, wrong or takes too much
|-- ClusterError            no cluster, or one that cannot do the work
|-- TrainingError           a training run cannot go on
|-- LimitError              work took more time or memory than it may, or ended its process
`-- UsageError              arguments that make no sense together
"""


class CoreError(Exception):
    """Base of all errors shown to the user in words; anything else is a bug and is allowed to crash."""


class ImageError(CoreError, ValueError):
    """The image cannot be read or used."""


class MaskError(CoreError, ValueError):
    """A mask does not fit its coding or its image."""


class DataSetError(CoreError, ValueError):
    """A folder or table of a data set is not as described."""


class ModelError(CoreError, RuntimeError):
    """No model, a damaged one, or one whose contract does not match."""


class ProviderError(ModelError):
    """The requested execution provider is not there."""


class RecordError(CoreError, ValueError):
    """A file of settings or of a record is not as described."""


class FeatureError(CoreError, ValueError):
    """A feature was asked for that the catalogue does not have."""


class SelectionError(CoreError, ValueError):
    """A selection, gate or link of the explorer that cannot be used."""


class StoreError(CoreError, RuntimeError):
    """The cohort cannot be read or written."""


class ConflictError(StoreError):
    """Somebody else has changed the same thing meanwhile."""


class QueryError(CoreError, ValueError):
    """SQL of a person that is refused, wrong or takes too much."""


class ClusterError(CoreError, RuntimeError):
    """No cluster, or one that cannot do the work."""


class TrainingError(CoreError, RuntimeError):
    """A training run cannot go on."""


class LimitError(CoreError, RuntimeError):
    """Work took more time or memory than it may, or ended its process."""


class UsageError(CoreError, ValueError):
    """Arguments that make no sense together."""
