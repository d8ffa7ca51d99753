"""Carries a plan out with boto3, of any version."""

import io

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

from driver import digest, present, run

ALGORITHMS = ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256")


def write_arguments(mode):
    kind = mode["kind"]
    if kind == "s3":
        return {"ServerSideEncryption": "AES256"}
    if kind == "kms":
        context = mode.get("context")
        return present(
            ServerSideEncryption="aws:kms",
            SSEKMSKeyId=mode.get("keyId"),
            SSEKMSEncryptionContext=context and encoded(context),
        )
    return read_arguments(mode)


def read_arguments(mode, prefix=""):
    if mode["kind"] != "c":
        return {}
    return {prefix + "SSECustomerAlgorithm": "AES256", prefix + "SSECustomerKey": mode["key"]}


def encoded(context):
    import base64
    import json

    return base64.b64encode(json.dumps(context).encode()).decode()


def shown(answer):
    return present(
        method=answer.get("ServerSideEncryption"),
        keyId=answer.get("SSEKMSKeyId"),
        customerAlgorithm=answer.get("SSECustomerAlgorithm"),
        customerKeyMd5=answer.get("SSECustomerKeyMD5"),
    )


def checksums(answer):
    return {name: answer["Checksum" + name] for name in ALGORITHMS if "Checksum" + name in answer}


def describe(error):
    if isinstance(error, ClientError):
        answer = error.response
        return {
            "code": answer["Error"].get("Code", ""),
            "status": answer["ResponseMetadata"]["HTTPStatusCode"],
            "message": str(error),
        }
    return {"code": type(error).__name__, "message": str(error)}


def connect(plan):
    def client(more):
        config = Config(
            region_name="us-east-1",
            s3={"addressing_style": "path"},
            retries={"max_attempts": 0},
            max_pool_connections=8,
            **more,
        )
        return boto3.client(
            "s3",
            endpoint_url=plan["endpoint"],
            aws_access_key_id=plan["accessKey"],
            aws_secret_access_key=plan["secretKey"],
            verify=plan.get("caFile", False),
            config=config,
        )

    s3 = client({"signature_version": "s3v4"})
    handlers = {
        "createBucket": create_bucket,
        "deleteBucket": delete_bucket,
        "setDefault": set_default,
        "put": put,
        "head": head,
        "get": get,
        "copy": copy,
        "list": list_objects,
        "delete": delete,
        "remove": remove,
        "versioning": versioning,
        "listVersions": list_versions,
        "deleteVersions": delete_versions,
        "setPolicy": set_policy,
        "presign": presign,
        "form": form,
    }
    signers = {4: s3, 2: client({"signature_version": "s3"})}

    def perform(step, payload):
        return handlers[step["op"]](signers[step.get("signature", 4)], step, payload)

    return perform, describe


def create_bucket(s3, step, _):
    s3.create_bucket(Bucket=step["bucket"])
    return {}


def delete_bucket(s3, step, _):
    s3.delete_bucket(Bucket=step["bucket"])
    return {}


def set_default(s3, step, _):
    bucket, mode = step["bucket"], step["mode"]
    if mode["kind"] == "none":
        s3.delete_bucket_encryption(Bucket=bucket)
        try:
            s3.get_bucket_encryption(Bucket=bucket)
        except ClientError as error:
            assert error.response["Error"]["Code"] == "ServerSideEncryptionConfigurationNotFoundError"
        return {"sse": {}}
    rule = present(
        SSEAlgorithm="AES256" if mode["kind"] == "s3" else "aws:kms", KMSMasterKeyID=mode.get("keyId")
    )
    rules = [{"ApplyServerSideEncryptionByDefault": rule}]
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": rules})
    answer = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert len(answer) == 1, answer
    got = answer[0]["ApplyServerSideEncryptionByDefault"]
    return {"sse": present(method=got["SSEAlgorithm"], keyId=got.get("KMSMasterKeyID"))}


def put(s3, step, payload):
    arguments = {"Metadata": step.get("metadata", {}), **write_arguments(step["mode"])}
    if "checksum" in step:
        arguments["ChecksumAlgorithm"] = step["checksum"]
    named = {"Bucket": step["bucket"], "Key": step["key"]}
    if step["size"] <= step.get("partSize", step["size"]):
        answer = s3.put_object(Body=bytes(payload), **named, **arguments)
        if "VersionId" in answer:
            return {"etag": answer["ETag"], "sse": shown(answer), "versionId": answer["VersionId"]}
    else:
        part = step["partSize"]
        config = TransferConfig(multipart_threshold=part, multipart_chunksize=part, max_concurrency=2)
        s3.upload_fileobj(io.BytesIO(payload), step["bucket"], step["key"], ExtraArgs=arguments, Config=config)
        answer = s3.head_object(**named, **read_arguments(step["mode"]))
    return {"etag": answer["ETag"], "sse": shown(answer), "checksums": checksums(answer)}


def head(s3, step, _):
    named = {"Bucket": step["bucket"], "Key": step["key"], **version(step)}
    answer = s3.head_object(**named, **read_arguments(step["mode"]))
    return {
        "etag": answer["ETag"],
        "size": answer["ContentLength"],
        "metadata": answer["Metadata"],
        "sse": shown(answer),
    }


def version(step, name="versionId"):
    return {"VersionId": step[name]} if name in step else {}


def get(s3, step, _):
    arguments = {**read_arguments(step["mode"]), **version(step)}
    if "range" in step:
        arguments["Range"] = "bytes=%d-%d" % tuple(step["range"])
    else:
        arguments["ChecksumMode"] = "ENABLED"
    answer = s3.get_object(Bucket=step["bucket"], Key=step["key"], **arguments)
    body = answer["Body"]
    return {
        **digest(iter(lambda: body.read(1 << 20), b"")),
        "etag": answer["ETag"],
        "sse": shown(answer),
        "checksums": checksums(answer),
    }


def copy(s3, step, _):
    answer = s3.copy_object(
        Bucket=step["bucket"],
        Key=step["key"],
        CopySource={"Bucket": step["fromBucket"], "Key": step["fromKey"], **version(step, "fromVersionId")},
        **write_arguments(step["mode"]),
        **read_arguments(step["fromMode"], "CopySource"),
    )
    return {"etag": answer["CopyObjectResult"]["ETag"], "sse": shown(answer)}


def list_objects(s3, step, _):
    paginator = s3.get_paginator("list_objects_v2" if step["api"] == 2 else "list_objects")
    pages = paginator.paginate(
        Bucket=step["bucket"],
        Prefix=step["prefix"],
        Delimiter=step["delimiter"],
        PaginationConfig={"PageSize": step["pageSize"]},
    )
    objects, prefixes = [], []
    for page in pages:
        objects += [(found["Key"], found["Size"], found["ETag"]) for found in page.get("Contents", [])]
        prefixes += [found["Prefix"] for found in page.get("CommonPrefixes", [])]
    return {"objects": objects, "prefixes": prefixes}


def delete(s3, step, _):
    keys = step["keys"]
    for at in range(0, len(keys), 1000):
        wanted = {"Objects": [{"Key": key} for key in keys[at : at + 1000]]}
        answer = s3.delete_objects(Bucket=step["bucket"], Delete=wanted)
        assert not answer.get("Errors"), answer
    return {}


def remove(s3, step, _):
    answer = s3.delete_object(Bucket=step["bucket"], Key=step["key"], **version(step))
    return {"versionId": answer.get("VersionId", ""), "isMarker": answer.get("DeleteMarker", False)}


def versioning(s3, step, _):
    s3.put_bucket_versioning(Bucket=step["bucket"], VersioningConfiguration={"Status": step["status"]})
    assert s3.get_bucket_versioning(Bucket=step["bucket"])["Status"] == step["status"]
    return {}


def list_versions(s3, step, _):
    versions, markers = [], []
    pages = s3.get_paginator("list_object_versions").paginate(
        Bucket=step["bucket"], PaginationConfig={"PageSize": 2}
    )
    for page in pages:
        for found in page.get("Versions", []):
            versions.append((found["Key"], found["VersionId"], found["IsLatest"], False))
        for found in page.get("DeleteMarkers", []):
            markers.append((found["Key"], found["VersionId"], found["IsLatest"], True))
    return {"versions": versions + markers}


def delete_versions(s3, step, _):
    wanted = {"Objects": [{"Key": key, "VersionId": id} for key, id in step["versions"]]}
    answer = s3.delete_objects(Bucket=step["bucket"], Delete=wanted)
    assert not answer.get("Errors"), answer
    return {}


def set_policy(s3, step, _):
    s3.put_bucket_policy(Bucket=step["bucket"], Policy=step["policy"])
    assert s3.get_bucket_policy(Bucket=step["bucket"])["Policy"] == step["policy"]
    return {}


def form(s3, step, _):
    made = s3.generate_presigned_post(step["bucket"], step["key"], ExpiresIn=60)
    return {"url": made["url"], "fields": made["fields"]}


def presign(s3, step, _):
    operation = step["method"].lower() + "_object"
    named = {"Bucket": step["bucket"], "Key": step["key"]}
    return {"url": s3.generate_presigned_url(operation, Params=named, ExpiresIn=60)}


run(connect)
