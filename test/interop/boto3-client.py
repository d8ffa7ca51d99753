"""Writes, reads, lists and deletes with boto3: small, multipart, encrypted, ranged, presigned."""

import hashlib
import sys
import urllib.request

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

endpoint, large = sys.argv[1], sys.argv[2]
s3 = boto3.client("s3", endpoint_url=endpoint)
bucket = "boto-bucket"

s3.create_bucket(Bucket=bucket)
s3.put_object(Bucket=bucket, Key="plain", Body=b"hello world", Metadata={"colour": "grün".encode().hex()})
assert s3.get_object(Bucket=bucket, Key="plain")["Body"].read() == b"hello world"
assert s3.get_object(Bucket=bucket, Key="plain", Range="bytes=6-")["Body"].read() == b"world"

put = s3.put_object(Bucket=bucket, Key="sealed", Body=b"x" * 70000, ServerSideEncryption="AES256")
assert put["ServerSideEncryption"] == "AES256", put
head = s3.head_object(Bucket=bucket, Key="sealed")
assert head["ServerSideEncryption"] == "AES256" and head["ContentLength"] == 70000, head
assert s3.get_object(Bucket=bucket, Key="sealed", Range="bytes=65530-65545")["Body"].read() == b"x" * 16

for algorithm in ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"):
    s3.put_object(Bucket=bucket, Key="sum-" + algorithm, Body=b"sum", ChecksumAlgorithm=algorithm)
    got = s3.get_object(Bucket=bucket, Key="sum-" + algorithm, ChecksumMode="ENABLED")
    assert got["Body"].read() == b"sum" and got["Checksum" + algorithm], got

config = TransferConfig(multipart_threshold=5 * 1024 * 1024, multipart_chunksize=5 * 1024 * 1024)
s3.upload_file(large, bucket, "large", Config=config, ExtraArgs={"ServerSideEncryption": "AES256"})
s3.download_file(bucket, "large", large + ".boto")
digest = lambda name: hashlib.sha256(open(name, "rb").read()).hexdigest()
assert digest(large) == digest(large + ".boto")
s3.copy({"Bucket": bucket, "Key": "large"}, bucket, "large-copy", Config=config)
assert s3.head_object(Bucket=bucket, Key="large-copy")["ContentLength"] == s3.head_object(Bucket=bucket, Key="large")["ContentLength"]

# Signature V2 is what boto3 presigns with unless it is told otherwise.
for version in ("s3", "s3v4"):
    presigner = boto3.client("s3", endpoint_url=endpoint, config=Config(signature_version=version))
    url = presigner.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "plain"}, ExpiresIn=60)
    assert urllib.request.urlopen(url).read() == b"hello world"
    form = presigner.generate_presigned_post(bucket, "form-" + version + "/${filename}", ExpiresIn=60)
    boundary = "boundary-of-a-form"
    body = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in form["fields"].items()
    )
    body += f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nform bytes\r\n--{boundary}--\r\n'
    post = urllib.request.Request(form["url"], body.encode(), {"Content-Type": f"multipart/form-data; boundary={boundary}"})
    assert urllib.request.urlopen(post).status == 204
    assert s3.get_object(Bucket=bucket, Key="form-" + version + "/f")["Body"].read() == b"form bytes"

keys = [o["Key"] for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, PaginationConfig={"PageSize": 2}) for o in page.get("Contents", [])]
assert keys == sorted(keys) and "large-copy" in keys, keys
versions = s3.list_object_versions(Bucket=bucket)["Versions"]
assert len(versions) == len(keys)

try:
    s3.get_object(Bucket=bucket, Key="absent")
    raise SystemExit("an absent key was found")
except ClientError as error:
    assert error.response["Error"]["Code"] == "NoSuchKey", error
try:
    s3.put_object(Bucket=bucket, Key="sealed-c", Body=b"x", SSECustomerAlgorithm="AES256", SSECustomerKey=b"k" * 32)
    raise SystemExit("a header that asks for protection was ignored")
except ClientError as error:
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 501), error

s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys]})
s3.delete_bucket(Bucket=bucket)
print("boto3 ok")
