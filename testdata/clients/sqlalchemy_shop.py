"""What a SQLAlchemy application does, printed so that two runs can be compared.

Usage: sqlalchemy_shop.py URL
"""
import sys

from sqlalchemy import (Column, ForeignKey, Integer, MetaData, Numeric, String, Table, create_engine, func, inspect,
                        select, text)
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.orm import DeclarativeBase, Session, mapped_column, relationship


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


def main(url):
    engine = create_engine(url)
    insp = inspect(engine)
    print("tables", sorted(insp.get_table_names()))
    print("columns", [(c["name"], str(c["type"]), c["nullable"]) for c in insp.get_columns("customers")])
    print("pk", insp.get_pk_constraint("order_lines")["constrained_columns"])
    print("fk", [(f["constrained_columns"], f["referred_table"]) for f in insp.get_foreign_keys("orders")])
    print("indexes", sorted(i["name"] for i in insp.get_indexes("customers")))
    print("views", sorted(insp.get_view_names()))
    reflected = MetaData()
    products = Table("products", reflected, autoload_with=engine)
    print("reflected", [c.name for c in products.columns])

    Base.metadata.create_all(engine)
    with Session(engine) as session:
        ana = Author(name="Ana", books=[Book(title="One", price=1), Book(title="Two", price=2.5)])
        session.add_all([ana, Author(name="Bo")])
        session.commit()
        print("ids", ana.id, [b.id for b in ana.books])
        got = session.scalars(select(Author).order_by(Author.name)).all()
        print("authors", [(a.name, [b.title for b in a.books]) for a in got])
        total = session.execute(
            select(Author.name, func.sum(Book.price)).join(Book, isouter=True).group_by(Author.name).order_by(Author.name))
        print("sums", [tuple(r) for r in total])
        ana.books[0].title = "Uno"
        session.commit()
        session.delete(ana.books[1])
        session.commit()
        print("left", session.scalar(select(func.count()).select_from(Book)))
    with Session(engine) as session:
        session.add(Author(name="Ana"))
        try:
            session.commit()
        except IntegrityError as e:
            print("integrity", e.orig.diag.sqlstate, e.orig.diag.constraint_name)
            session.rollback()
        with session.begin_nested() as nested:
            session.add(Author(name="Cy"))
            session.flush()
            nested.rollback()
        print("after savepoint", session.scalar(select(func.count()).select_from(Author)))
    with engine.connect() as conn:
        print("params", conn.execute(text("SELECT id, name FROM customers WHERE id = :id"), {"id": 2}).all())
        print("in", conn.execute(text("SELECT id FROM customers WHERE id = ANY(:ids) ORDER BY id"), {"ids": [1, 2, 3]}).all())
        try:
            conn.execute(text("SELECT * FROM no_such_table"))
        except ProgrammingError as e:
            print("missing", e.orig.diag.sqlstate, e.orig.diag.message_primary)
        conn.rollback()
        print("streamed", sum(r[0] for r in conn.execution_options(stream_results=True, yield_per=50).execute(
            text("SELECT generate_series(1, 1000)"))))
    with engine.connect() as conn:
        print("many", conn.execute(text("INSERT INTO scratch (id, a) VALUES (:i, :a)"),
                                   [{"i": 1000 + i, "a": str(i)} for i in range(20)]).rowcount)
        conn.commit()
        print("deleted", conn.execute(text("DELETE FROM scratch WHERE id >= 1000")).rowcount)
        conn.commit()
    Base.metadata.drop_all(engine)
    engine.dispose()


if __name__ == "__main__":
    main(sys.argv[1])
