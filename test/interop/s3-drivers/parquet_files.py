"""Writes and reads Parquet with pyarrow and DuckDB: columns and row groups come by range requests.

Arguments: endpoint, CA file or "", bucket, a KMS key for what DuckDB writes. Credentials are in the environment.
"""

import os
import sys

import duckdb
import duckdb_extensions
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

endpoint, ca_file, bucket, kms_key = sys.argv[1:]
scheme, address = endpoint.split("://")
access_key, secret_key = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
ROWS = 200_000

table = pa.table(
    {
        "id": pa.array(range(ROWS), pa.int64()),
        "name": pa.array([f"name of {row % 1000}" for row in range(ROWS)]),
        # Does not compress, so that there is something to read by range.
        "noise": pa.array([os.urandom(40) for _ in range(ROWS)]),
    }
)

s3 = fs.S3FileSystem(
    access_key=access_key,
    secret_key=secret_key,
    endpoint_override=address,
    scheme=scheme,
    region="us-east-1",
    tls_ca_file_path=ca_file or None,
    request_timeout=60,
)
wanted = f"{bucket}/a folder/big table+1.parquet"
pq.write_table(table, wanted, filesystem=s3, row_group_size=40_000)

assert s3.get_file_info(wanted).size > 7_000_000
assert pq.read_table(wanted, filesystem=s3).equals(table)
assert pq.read_table(wanted, filesystem=s3, columns=["id"]).equals(table.select(["id"]))
with s3.open_input_file(wanted) as file:
    third = pq.ParquetFile(file).read_row_group(3, columns=["name", "noise"])
assert third.equals(table.select(["name", "noise"]).slice(120_000, 40_000).combine_chunks())
found = pq.read_table(wanted, filesystem=s3, filters=pc.field("id") == 123_456)
assert found["noise"][0] == table["noise"][123_456]
few = table.slice(0, 5000).append_column("part", pa.array([row % 12 for row in range(5000)]))
pq.write_to_dataset(few, f"{bucket}/set", filesystem=s3, partition_cols=["part"])
parts = s3.get_file_info(fs.FileSelector(f"{bucket}/set", recursive=True))
assert sum(part.is_file for part in parts) == 12, parts
assert pq.read_table(f"{bucket}/set", filesystem=s3).num_rows == 5000
s3.delete_dir(f"{bucket}/set")
assert s3.get_file_info(f"{bucket}/set").type == fs.FileType.NotFound

duckdb_extensions.import_extension("httpfs")
db = duckdb.connect()
db.execute("LOAD httpfs")
if ca_file:
    db.execute(f"SET ca_cert_file = '{ca_file}'")
secret = f"""TYPE s3, KEY_ID '{access_key}', SECRET '{secret_key}', REGION 'us-east-1', ENDPOINT '{address}',
    URL_STYLE 'path', USE_SSL {scheme == 'https'}"""
db.execute(f"CREATE SECRET ({secret})")
source = f"s3://{wanted}"
assert db.execute(f"SELECT count(*), sum(id) FROM '{source}'").fetchone() == (ROWS, ROWS * (ROWS - 1) // 2)
row = db.execute(f"SELECT noise FROM '{source}' WHERE id = 123456").fetchone()
assert row[0] == table["noise"][123_456].as_py()
db.execute(f"COPY (SELECT * FROM '{source}' WHERE id < 100000) TO 's3://{bucket}/duck 1.parquet'")
assert pq.read_table(f"{bucket}/duck 1.parquet", filesystem=s3)["id"].to_pylist() == list(range(100_000))

db.execute(f"CREATE OR REPLACE SECRET ({secret}, KMS_KEY_ID '{kms_key}')")
db.execute(f"COPY (SELECT * FROM '{source}') TO 's3://{bucket}/duck-kms.parquet'")
assert db.execute(f"SELECT count(*) FROM 's3://{bucket}/duck-kms.parquet'").fetchone() == (ROWS,)
names = db.execute(f"SELECT file FROM glob('s3://{bucket}/**') ORDER BY file").fetchall()
assert [name.removeprefix(f"s3://{bucket}/") for (name,) in names] == [
    "a folder/big table+1.parquet",
    "duck 1.parquet",
    "duck-kms.parquet",
], names
