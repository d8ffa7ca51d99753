"""Carries a plan out with minio (Python)."""

import io
import ssl
from datetime import datetime, timedelta, timezone

import urllib3
from minio import Minio
from minio.datatypes import PostPolicy
from minio.commonconfig import CopySource
from minio.deleteobjects import DeleteObject
from minio.error import S3Error
from minio.sse import SseCustomerKey, SseKMS, SseS3
from minio.sseconfig import Rule, SSEConfig
from minio.versioningconfig import VersioningConfig

from driver import digest, present, run

SSE = "x-amz-server-side-encryption"


def sse_of(mode):
    kind = mode["kind"]
    if kind == "s3":
        return SseS3()
    if kind == "kms":
        return SseKMS(mode["keyId"], mode.get("context", {}))
    return customer_key(mode)


def customer_key(mode):
    return SseCustomerKey(mode["key"].encode()) if mode["kind"] == "c" else None


def shown(headers):
    return present(
        method=headers.get(SSE),
        keyId=headers.get(SSE + "-aws-kms-key-id"),
        customerAlgorithm=headers.get(SSE + "-customer-algorithm"),
        customerKeyMd5=headers.get(SSE + "-customer-key-md5"),
    )


def describe(error):
    if isinstance(error, S3Error):
        return {"code": error.code, "status": error.response.status, "message": str(error)}
    return {"code": type(error).__name__, "message": str(error)}


def connect(plan):
    scheme, address = plan["endpoint"].split("://")
    pool = urllib3.PoolManager(
        maxsize=8, retries=False, cert_reqs=ssl.CERT_REQUIRED, ca_certs=plan.get("caFile")
    )
    client = Minio(
        address,
        access_key=plan["accessKey"],
        secret_key=plan["secretKey"],
        secure=scheme == "https",
        http_client=pool,
    )
    return (lambda step, payload: globals()["do_" + step["op"]](client, step, payload)), describe


def do_createBucket(client, step, _):
    client.make_bucket(step["bucket"])
    return {}


def do_deleteBucket(client, step, _):
    client.remove_bucket(step["bucket"])
    return {}


def do_setDefault(client, step, _):
    bucket, mode = step["bucket"], step["mode"]
    if mode["kind"] == "none":
        client.delete_bucket_encryption(bucket)
        assert client.get_bucket_encryption(bucket) is None
        return {"sse": {}}
    rule = Rule.new_sse_s3_rule() if mode["kind"] == "s3" else Rule.new_sse_kms_rule(mode.get("keyId"))
    client.set_bucket_encryption(bucket, SSEConfig(rule))
    got = client.get_bucket_encryption(bucket).rule
    return {"sse": present(method=got.sse_algorithm, keyId=got.kms_master_key_id)}


def do_put(client, step, payload):
    answer = client.put_object(
        step["bucket"],
        step["key"],
        io.BytesIO(payload),
        step["size"],
        metadata=step.get("metadata"),
        sse=sse_of(step["mode"]),
        part_size=step.get("partSize", max(step["size"], 5 << 20)),
    )
    return present(etag=answer.etag, sse=shown(answer.http_headers), versionId=answer.version_id)


def do_head(client, step, _):
    answer = client.stat_object(
        step["bucket"],
        step["key"],
        ssec=customer_key(step["mode"]),
        version_id=step.get("versionId"),
    )
    headers = {name.lower(): value for name, value in answer.metadata.items()}
    prefix = "x-amz-meta-"
    metadata = {n[len(prefix) :]: v for n, v in headers.items() if n.startswith(prefix)}
    return {"etag": answer.etag, "size": answer.size, "metadata": metadata, "sse": shown(headers)}


def do_get(client, step, _):
    first, last = step.get("range", (0, -1))
    answer = client.get_object(
        step["bucket"],
        step["key"],
        first,
        last + 1 - first,
        ssec=customer_key(step["mode"]),
        version_id=step.get("versionId"),
    )
    try:
        return {
            **digest(answer.stream(1 << 20)),
            "etag": answer.headers["etag"],
            "sse": shown(answer.headers),
        }
    finally:
        answer.close()
        answer.release_conn()


def do_copy(client, step, _):
    source = CopySource(
        step["fromBucket"],
        step["fromKey"],
        ssec=customer_key(step["fromMode"]),
        version_id=step.get("fromVersionId"),
    )
    answer = client.copy_object(step["bucket"], step["key"], source, sse=sse_of(step["mode"]))
    return {"etag": answer.etag, "sse": shown(answer.http_headers)}


def do_list(client, step, _):
    found = client.list_objects(
        step["bucket"],
        prefix=step["prefix"] or None,
        recursive=step["delimiter"] == "",
        use_api_v1=step["api"] == 1,
        extra_query_params={"max-keys": str(step["pageSize"])},
    )
    objects, prefixes = [], []
    for entry in found:
        if entry.etag is None:
            prefixes.append(entry.object_name)
        else:
            objects.append((entry.object_name, entry.size, entry.etag))
    return {"objects": objects, "prefixes": prefixes}


def do_delete(client, step, _):
    errors = list(client.remove_objects(step["bucket"], [DeleteObject(key) for key in step["keys"]]))
    assert not errors, errors
    return {}


def do_remove(client, step, _):
    client.remove_object(step["bucket"], step["key"], version_id=step.get("versionId"))
    return {}


def do_versioning(client, step, _):
    client.set_bucket_versioning(step["bucket"], VersioningConfig(step["status"]))
    assert client.get_bucket_versioning(step["bucket"]).status == step["status"]
    return {}


def do_listVersions(client, step, _):
    found = client.list_objects(step["bucket"], recursive=True, include_version=True)
    versions = [
        (entry.object_name, entry.version_id, entry.is_latest == "true", entry.is_delete_marker)
        for entry in found
    ]
    return {"versions": sorted(versions, key=lambda entry: entry[3])}


def do_deleteVersions(client, step, _):
    wanted = [DeleteObject(key, id) for key, id in step["versions"]]
    errors = list(client.remove_objects(step["bucket"], wanted))
    assert not errors, errors
    return {}


def do_setPolicy(client, step, _):
    client.set_bucket_policy(step["bucket"], step["policy"])
    assert client.get_bucket_policy(step["bucket"]) == step["policy"]
    return {}


def do_form(client, step, _):
    policy = PostPolicy(step["bucket"], datetime.now(timezone.utc) + timedelta(minutes=1))
    policy.add_equals_condition("key", step["key"])
    fields = client.presigned_post_policy(policy)
    return {"url": client_url(client, step["bucket"]) + "/" + step["bucket"], "fields": {**fields, "key": step["key"]}}


def client_url(client, bucket):
    return client.get_presigned_url("GET", bucket, "name").split("/" + bucket + "/")[0]


def do_presign(client, step, _):
    return {"url": client.get_presigned_url(step["method"], step["bucket"], step["key"])}


run(connect)
