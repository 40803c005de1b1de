"""Django's ORM, its migrations and its introspection: see scenario.py."""
import io
import os

import django
from django.conf import settings

from scenario import POLICY, step

options = {"sslmode": os.environ["PGSSLMODE"]}
settings.configure(
    DATABASES={"default": {
        "ENGINE": "django.db.backends.postgresql", "HOST": os.environ["PGHOST"], "PORT": os.environ["PGPORT"], "USER": os.environ["PGUSER"],
        "PASSWORD": os.environ["PGPASSWORD"], "NAME": os.environ["PGDATABASE"], "OPTIONS": options}},
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"], DEFAULT_AUTO_FIELD="django.db.models.AutoField", USE_TZ=True)
django.setup()

from django.contrib.auth.models import Group, User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import DatabaseError, IntegrityError, connection, models, transaction  # noqa: E402
from django.db.models import Count, F, Q  # noqa: E402


class Customer(models.Model):
    name = models.TextField()
    email = models.TextField()
    ssn = models.TextField()

    class Meta:
        app_label, db_table, managed = "shop", "customers", False


def main():
    if POLICY:
        step("masked", lambda: (Customer.objects.get(pk=1).email, Customer.objects.values_list("email", "name").get(pk=1)))
        step("refused", refused)
        step("tls", lambda: connection.connection.pgconn.ssl_in_use)
        return
    step("connect", lambda: connection.get_database_version()[0] > 14)
    step("introspect", introspect)
    step("migrate", migrate)
    step("transact", transact)
    step("orm", orm)
    step("stream", lambda: sum(1 for _ in Customer.objects.order_by("pk").iterator(chunk_size=2)))
    step("error", error)
    call_command("migrate", "auth", "zero", verbosity=0)
    call_command("migrate", "contenttypes", "zero", verbosity=0)


def introspect():
    with connection.cursor() as cur:
        i = connection.introspection
        return (sorted(t.name for t in i.get_table_list(cur))[:5], [(c.name, c.null_ok) for c in i.get_table_description(cur, "customers")],
                i.get_relations(cur, "orders"), sorted(i.get_constraints(cur, "customers")))


def migrate():
    out = io.StringIO()
    call_command("migrate", stdout=out, verbosity=1)
    return out.getvalue().count("OK"), sorted(t for t in connection.introspection.table_names() if t.startswith("auth"))


def transact():
    out = []
    try:
        with transaction.atomic():
            Group.objects.create(name="g")
            with transaction.atomic():
                Group.objects.create(name="g")
    except IntegrityError as e:
        out.append(e.__cause__.sqlstate)
    out.append(Group.objects.count())
    return out


def orm():
    g = Group.objects.create(name="staff")
    for n in ("a", "b", "c"):
        u = User.objects.create_user(n, f"{n}@mail.example", "pw" if n == "a" else None)
        u.groups.add(g)
    User.objects.bulk_create([User(username=f"u{i}") for i in range(5)])
    User.objects.filter(username="a").update(first_name=F("username"))
    counts = list(Group.objects.annotate(n=Count("user")).values_list("name", "n"))
    some = list(User.objects.filter(Q(username__startswith="u") | Q(groups=g)).order_by("username").values_list("username", flat=True))
    created = User.objects.get_or_create(username="a")[1], User.objects.update_or_create(username="a", defaults={"last_name": "x"})[1]
    locked = [u.username for u in User.objects.select_for_update().filter(pk__gt=0).order_by("pk")[:2]] if transaction.get_autocommit() is False else None
    return counts, some, created, locked, User.objects.all().delete()[0] > 0


def error():
    try:
        Customer.objects.extra(where=["no_such = 1"]).count()
    except DatabaseError as e:
        return type(e).__name__, e.__cause__.sqlstate, Customer.objects.count() > 0


def refused():
    out = []
    with transaction.atomic():
        try:
            with transaction.atomic():
                list(Customer.objects.filter(ssn="1"))
        except DatabaseError as e:
            out.append((type(e).__name__, e.__cause__.sqlstate))
        out.append(Customer.objects.filter(pk=1).exists())
    return out


main()
