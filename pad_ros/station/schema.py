"""The tables of the history. Times are Unix nanoseconds; a person's entries are never changed, only added to."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

SCHEMA_VERSION = 2

DONE, FIRST, SECOND_OPINION, SAMPLE = range(4)  # what review a result waits for; SAMPLE: it passed, pictures are kept

# What is known of a result's pictures: the rule wants none, they are to come, they were written, they were given up, or
# there were none to write. Pictures that were kept may have gone since, by age and size.
UNWANTED, PENDING, KEPT, DROPPED, ABSENT = range(5)
PICTURE_STATES = ("", "pending", "kept", "dropped", "absent")

metadata = MetaData()
Key = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers only INTEGER keys by itself

about = Table("about", metadata, Column("name", String(40), primary_key=True), Column("value", Text, nullable=False))

results = Table(
    "results", metadata,
    Column("id", Key, primary_key=True),
    Column("uid", String(32), nullable=False, unique=True),
    Column("time_ns", BigInteger, nullable=False, index=True),
    Column("cell", Text, nullable=False),
    Column("part_id", Text, nullable=False, index=True),
    Column("model_name", Text, nullable=False),
    Column("model_hash", Text, nullable=False),
    Column("verdict", SmallInteger, nullable=False),
    Column("reason", Integer, nullable=False),
    Column("reason_text", Text, nullable=False),
    *(Column(name, Double) for name in (
        "score", "threshold", "p_value", "view_share", "light_change", "sharpness",
        "localize_ms", "render_ms", "score_ms", "total_ms",
    )),
    Column("image_ns", BigInteger, nullable=False),
    Column("trigger_ns", BigInteger, nullable=False),
    Column("pose", Text),  # JSON: x, y, z, qx, qy, qz, qw
    Column("source", Text, nullable=False),
    Column("queue", SmallInteger, nullable=False),
    Column("picture_state", SmallInteger, nullable=False),
)  # fmt: skip
Index("results_cell_time", results.c.cell, results.c.time_ns)
Index("results_cell_model_time", results.c.cell, results.c.model_hash, results.c.time_ns)
# In words, since SQLite uses a partial index only where the condition stands in the question, without parameters.
WAITING = text("results.queue > 0")
IS_WAITING = results.c.queue > 0
Index("results_waiting", results.c.queue, results.c.time_ns, sqlite_where=IS_WAITING, postgresql_where=IS_WAITING)
IS_PENDING = results.c.picture_state == PENDING
Index("results_pending", results.c.cell, sqlite_where=IS_PENDING, postgresql_where=IS_PENDING)

defects = Table(
    "defects", metadata,
    Column("id", Key, primary_key=True),
    Column("result_id", ForeignKey("results.id"), nullable=False, index=True),
    Column("time_ns", BigInteger, nullable=False, index=True),
    Column("model_hash", Text, nullable=False),
    *(Column(name, Integer, nullable=False) for name in ("x", "y", "width", "height", "area")),
    *(Column(name, Double) for name in ("peak_score", "place_x", "place_y", "place_z")),
    Column("kind", String(10), nullable=False),
)  # fmt: skip

pictures = Table(
    "pictures", metadata,
    Column("id", Key, primary_key=True),
    Column("result_id", ForeignKey("results.id"), nullable=False, index=True),
    Column("time_ns", BigInteger, nullable=False),
    Column("kind", String(10), nullable=False),
    Column("path", Text, nullable=False),  # below the station's pictures/
    Column("bytes", BigInteger, nullable=False),
    Column("unit", Double),  # of a heatmap: score per count
)  # fmt: skip
Index("pictures_kind_time", pictures.c.kind, pictures.c.time_ns, pictures.c.bytes)

# Counts, so that rates and histograms do not depend on how many results there are.
periods = Table(
    "periods", metadata,
    Column("period", Integer, primary_key=True, autoincrement=False),  # quarters of an hour since 1970
    Column("cell", Text, primary_key=True),
    Column("model_hash", Text, primary_key=True),
    Column("verdict", SmallInteger, primary_key=True, autoincrement=False),
    Column("reason", Integer, primary_key=True, autoincrement=False),
    Column("count", BigInteger, nullable=False),
)  # fmt: skip
score_days = Table(
    "score_days", metadata,
    Column("day", Integer, primary_key=True, autoincrement=False),  # since 1970, UTC
    Column("cell", Text, primary_key=True),
    Column("model_hash", Text, primary_key=True),
    Column("verdict", SmallInteger, primary_key=True, autoincrement=False),
    Column("step", Integer, primary_key=True, autoincrement=False),  # of the score, see `score_step`
    Column("count", BigInteger, nullable=False),
)  # fmt: skip

cells = Table(
    "cells", metadata,
    Column("name", Text, primary_key=True),
    Column("seen_ns", BigInteger, nullable=False),
    Column("state", Text, nullable=False),  # JSON, as its recorder reports it
)  # fmt: skip

users = Table(
    "users", metadata,
    Column("name", String(64), primary_key=True),
    Column("role", String(10), nullable=False),
    Column("password", Text, nullable=False),  # argon2
    Column("active", Boolean, nullable=False),
)  # fmt: skip
sessions = Table(
    "sessions", metadata,
    Column("token", String(64), primary_key=True),  # sha256 of the cookie
    Column("user", ForeignKey("users.name"), nullable=False),
    Column("csrf", String(64), nullable=False),
    Column("expires_ns", BigInteger, nullable=False),
)  # fmt: skip
audit = Table(
    "audit", metadata,
    Column("id", Key, primary_key=True),
    Column("time_ns", BigInteger, nullable=False, index=True),
    Column("user", String(64), nullable=False),
    Column("action", String(40), nullable=False),
    Column("subject", Text, nullable=False),
    Column("details", Text, nullable=False),  # JSON
)  # fmt: skip
reviews = Table(
    "reviews", metadata,
    Column("id", Key, primary_key=True),
    Column("result_id", ForeignKey("results.id"), nullable=False),
    Column("time_ns", BigInteger, nullable=False),
    Column("user", String(64), nullable=False),
    Column("opinion", String(10), nullable=False),  # good, defect or unsure
    Column("second", Boolean, nullable=False),  # given without sight of the first
    UniqueConstraint("result_id", "user"),
)  # fmt: skip
models = Table(
    "models", metadata,
    Column("hash", String(64), primary_key=True),
    Column("name", Text, nullable=False),
    Column("folder", Text, nullable=False),
    Column("parent", String(64)),  # hash of the model that it was calibrated from
    Column("added_ns", BigInteger, nullable=False),
    Column("added_by", String(64), nullable=False),
    Column("threshold", Double),
    Column("rate", Double),
    Column("summary", Text, nullable=False),  # JSON: lines to show, scores of good units
)  # fmt: skip
approvals = Table(
    "approvals", metadata,
    Column("id", Key, primary_key=True),
    Column("time_ns", BigInteger, nullable=False),
    Column("user", String(64), nullable=False),
    Column("cell", Text, nullable=False, index=True),
    Column("model_hash", ForeignKey("models.hash"), nullable=False),
    Column("before_hash", String(64)),  # what was approved for the cell until then
    Column("answer", Text),  # of the cell; None: not loaded yet
)  # fmt: skip
