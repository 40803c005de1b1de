"""SQLAlchemy's core and ORM, on both psycopgs: see scenario.py."""
from sqlalchemy import (Column, ForeignKey, Integer, MetaData, Numeric, String, Table, create_engine, func, inspect,
                        select, text)
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.orm import DeclarativeBase, Session, mapped_column, relationship

from scenario import POLICY, step


class Base(DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "sa_author"
    id = mapped_column(Integer, primary_key=True)
    name = mapped_column(String(80), nullable=False, unique=True)
    books = relationship("Book", back_populates="author", order_by="Book.id")


class Book(Base):
    __tablename__ = "sa_book"
    id = mapped_column(Integer, primary_key=True)
    title = mapped_column(String(200))
    price = mapped_column(Numeric(8, 2))
    author_id = mapped_column(ForeignKey("sa_author.id"))
    author = relationship(Author, back_populates="books")


customers = Table("customers", MetaData(), Column("id", Integer, primary_key=True), Column("email", String), Column("ssn", String))


def introspect(engine):
    insp = inspect(engine)
    products = Table("products", MetaData(), autoload_with=engine)
    return (sorted(insp.get_table_names()), [(c["name"], str(c["type"]), c["nullable"]) for c in insp.get_columns("customers")],
            insp.get_pk_constraint("order_lines")["constrained_columns"],
            [(f["constrained_columns"], f["referred_table"]) for f in insp.get_foreign_keys("orders")],
            sorted(i["name"] for i in insp.get_indexes("customers")), sorted(insp.get_view_names()), [c.name for c in products.columns])


def orm(engine):
    out = []
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        ana = Author(name="Ana", books=[Book(title="One", price=1), Book(title="Two", price=2.5)])
        session.add_all([ana, Author(name="Bo")])
        session.commit()
        out.append((ana.id, [b.id for b in ana.books]))
        out.append([(a.name, [b.title for b in a.books]) for a in session.scalars(select(Author).order_by(Author.name))])
        out.append([tuple(r) for r in session.execute(
            select(Author.name, func.sum(Book.price)).join(Book, isouter=True).group_by(Author.name).order_by(Author.name))])
        ana.books[0].title = "Uno"
        session.commit()
        session.delete(ana.books[1])
        session.commit()
        out.append(session.scalar(select(func.count()).select_from(Book)))
    with Session(engine) as session:
        session.add(Author(name="Ana"))
        try:
            session.commit()
        except IntegrityError as e:
            out.append((e.orig.diag.sqlstate, e.orig.diag.constraint_name))
            session.rollback()
        with session.begin_nested() as nested:
            session.add(Author(name="Cy"))
            session.flush()
            nested.rollback()
        out.append(session.scalar(select(func.count()).select_from(Author)))
    Base.metadata.drop_all(engine)
    return out


def transact(engine):
    with engine.connect() as conn:
        many = conn.execute(text("INSERT INTO scratch (id, a) VALUES (:i, :a)"), [{"i": 1000 + i, "a": str(i)} for i in range(20)]).rowcount
        conn.commit()
        deleted = conn.execute(text("DELETE FROM scratch WHERE id >= 1000")).rowcount
        conn.rollback()
        left = conn.execute(text("SELECT count(*) FROM scratch WHERE id >= 1000")).scalar()
        conn.execute(text("DELETE FROM scratch WHERE id >= 1000"))
        conn.commit()
        return many, deleted, left


def prepare(engine):
    with engine.connect() as conn:
        return (conn.execute(text("SELECT id, name FROM customers WHERE id = :id"), {"id": 2}).all(),
                conn.execute(text("SELECT id FROM customers WHERE id = ANY(:ids) ORDER BY id"), {"ids": [1, 2, 3]}).all())


def error(engine):
    with engine.connect() as conn:
        try:
            conn.execute(text("SELECT * FROM no_such_table"))
        except ProgrammingError as e:
            return e.orig.diag.sqlstate, e.orig.diag.message_primary


def stream(engine):
    with engine.connect() as conn:
        return sum(r[0] for r in conn.execution_options(stream_results=True, yield_per=50).execute(text("SELECT generate_series(1, 1000)")))


def masked(engine):
    with engine.connect() as conn:
        return conn.execute(select(customers.c.email).where(customers.c.id == 1)).scalar()


def refused(engine):
    with engine.begin() as conn:
        try:
            with conn.begin_nested():
                conn.execute(select(customers.c.id).where(customers.c.ssn == "1"))
        except DBAPIError as e:
            return type(e).__name__, e.orig.diag.sqlstate, conn.execute(text("SELECT 1")).scalar()


def tls(engine):
    with engine.connect() as conn:
        return conn.connection.driver_connection.info.ssl_in_use if hasattr(conn.connection.driver_connection.info, "ssl_in_use") else conn.connection.driver_connection.pgconn.ssl_in_use


def connect(engine):
    with engine.connect():
        return engine.dialect.driver, engine.dialect.server_version_info[0] > 14


for driver in ("psycopg", "psycopg2"):
    engine = create_engine(f"postgresql+{driver}://")
    for f in (masked, refused, tls) if POLICY else (connect, introspect, orm, transact, prepare, error, stream):
        step(f.__name__, lambda: f(engine))
    engine.dispose()
