"""SQLAlchemy 2 on PyMySQL: see scenario.py."""
import os

from sqlalchemy import (URL, ForeignKey, Integer, MetaData, Numeric, String, Table, create_engine, func, inspect,
                        select, text)
from sqlalchemy.exc import DBAPIError, IntegrityError
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


def engine():
    url = URL.create("mysql+pymysql", os.environ["MYSQL_USER"], os.environ["MYSQL_PASSWORD"], os.environ["MYSQL_HOST"],
                     int(os.environ["MYSQL_PORT"]), os.environ["MYSQL_DATABASE"])
    ca = os.environ.get("MYSQL_CA")
    return create_engine(url, connect_args={"ssl": {"ca": ca, "check_hostname": True}} if ca else {}, pool_pre_ping=True)


def main():
    e = engine()
    with e.connect() as c:
        if POLICY:
            step("masked", lambda: c.scalar(text("SELECT email FROM customers WHERE id = :id"), {"id": 1}))
            step("refused", lambda: refused(c))
            step("tls", lambda: c.connection.driver_connection._sock.version() >= "TLSv1.2")
            return
        step("connect", lambda: (e.dialect.name, e.dialect.server_version_info, c.scalar(text("SELECT 1"))))
    step("introspect", lambda: introspect(e))
    step("orm", lambda: orm(e))
    step("transact", lambda: transact(e))
    step("stream", lambda: stream(e))
    step("error", lambda: [failed(e, t) for t in ("SELECT * FROM nowhere", "SELEC", "INSERT INTO products (id, title, price) VALUES (1, 'x', 1)")])


def failed(e, statement):
    with e.connect() as c:
        try:
            c.execute(text(statement))
        except DBAPIError as x:
            return type(x).__name__, x.orig.args[:1 if x.orig.args[0] == 1064 else 2]  # whose text is the proxy's own


def refused(c):
    try:
        c.execute(text("SELECT id FROM customers WHERE ssn = '1'"))
    except DBAPIError as x:
        return type(x).__name__, x.orig.args[0], c.scalar(text("SELECT 'usable'"))


def introspect(e):
    i = inspect(e)
    products = Table("products", MetaData(), autoload_with=e)
    return (sorted(i.get_table_names()), sorted(i.get_view_names()), i.get_schema_names(),
            [(c["name"], str(c["type"]), c["nullable"], c["default"]) for c in i.get_columns("customers")],
            i.get_pk_constraint("order_lines"), i.get_foreign_keys("orders"), i.get_indexes("customers"), i.get_check_constraints("customers"),
            i.get_table_options("customers")["mysql_engine"], i.get_view_definition("customer_list"), [(c.name, str(c.type)) for c in products.columns])


def orm(e):
    Base.metadata.create_all(e)
    out = []
    try:
        with Session(e) as s:
            ana = Author(name="Ana", books=[Book(title="One", price=1), Book(title="Two", price=2.5)])
            s.add_all([ana, Author(name="Bo")])
            s.commit()
            out.append((ana.id, [b.id for b in ana.books]))
            ana.books[0].title = "Uno"
            s.commit()
            s.delete(ana.books[1])
            s.commit()
            total = select(Author.name, func.sum(Book.price)).join(Book, isouter=True).group_by(Author.name).order_by(Author.name)
            out.append([tuple(r) for r in s.execute(total)])
        with Session(e) as s:
            s.add(Author(name="Ana"))
            try:
                s.commit()
            except IntegrityError as x:
                out.append(x.orig.args)
    finally:
        Base.metadata.drop_all(e)
    return out


def transact(e):
    with e.begin() as c:
        c.execute(text("INSERT INTO scratch (id, a) VALUES (:i, :a)"), [{"i": 6001, "a": "x"}, {"i": 6002, "a": "y"}])
        inner = c.begin_nested()
        gone = c.execute(text("DELETE FROM scratch WHERE id > 6000")).rowcount
        inner.rollback()
        kept = c.execute(text("SELECT COUNT(*) FROM scratch WHERE id > 6000")).scalar()
        return gone, kept, c.execute(text("DELETE FROM scratch WHERE id > 6000")).rowcount


def stream(e):
    with e.connect().execution_options(stream_results=True, yield_per=100) as c:
        rows = c.execute(text("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) SELECT i FROM n"))
        return sum(r[0] for r in rows)


main()
