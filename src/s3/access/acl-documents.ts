// Access lists on the wire: the `x-amz-acl` header and the AccessControlPolicy document. Only the canned ones
// are served; a document is accepted when it says what a canned one says.

import {
  findChild,
  findChildText,
  listChildren,
  parseXml,
  type XmlElement,
  xmlElement,
} from '../../base/xml.ts';
import { type CannedAcl, cannedAcls, findCannedAcl } from '../../iam/acl.ts';
import type { Owner } from '../../iam/identity.ts';
import type { S3Headers } from '../headers.ts';
import { invalidArgument, S3Error } from '../errors.ts';
import { ownerXml } from '../listing.ts';

const allUsers = 'http://acs.amazonaws.com/groups/global/AllUsers';
const authenticatedUsers = 'http://acs.amazonaws.com/groups/global/AuthenticatedUsers';
const schema = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"';

type AclPermission = 'FULL_CONTROL' | 'READ' | 'READ_ACP' | 'WRITE' | 'WRITE_ACP';
const permissions: ReadonlySet<string> = new Set<AclPermission>([
  'FULL_CONTROL',
  'READ',
  'READ_ACP',
  'WRITE',
  'WRITE_ACP',
]);

/** A group by its URI, or an owner by id. */
type Grant = { readonly grantee: string; readonly permission: AclPermission };

/** Whose the list is. For objects `bucketOwner` says who owns the bucket. */
export type AclOwners = { readonly owner: Owner; readonly bucketOwner?: Owner };

/** Names that AWS knows and this server does not serve. */
const unserved: ReadonlySet<string> = new Set(['aws-exec-read', 'log-delivery-write']);

/**
 * The canned list that a request asks for by header; undefined when it asks for none. Throws `InvalidArgument`
 * for an unknown one, `NotImplemented` for grants to others.
 */
export function aclOfHeaders(headers: S3Headers): CannedAcl | undefined {
  const name = headers['x-amz-acl'];
  const grant = ['full-control', 'read', 'read-acp', 'write', 'write-acp']
    .map((permission) => `x-amz-grant-${permission}`)
    .find((header) => headers[header] !== undefined);
  if (grant !== undefined && name !== undefined) {
    throw new S3Error(
      'InvalidRequest',
      'Specifying both Canned ACLs and Header Grants is not allowed',
    );
  }
  if (grant !== undefined) throw notServed(grant);
  if (name === undefined) return undefined;
  const acl = findCannedAcl(name);
  if (acl !== undefined) return acl;
  if (unserved.has(name)) throw notServed('x-amz-acl');
  throw invalidArgument('x-amz-acl', name, 'The canned ACL you specified is not valid');
}

/** The list as it is recorded: nothing for what everything has anyway. */
export function recordedAcl(acl: CannedAcl | undefined): string | undefined {
  return acl === 'private' ? undefined : acl;
}

/** The list of a bucket as it is recorded. What some give the owner of a bucket, that owner has anyway. */
export function recordedBucketAcl(acl: CannedAcl | undefined): string | undefined {
  const isOwners = acl === 'bucket-owner-read' || acl === 'bucket-owner-full-control';
  return isOwners ? undefined : recordedAcl(acl);
}

/** The inside of AccessControlPolicy. Grants to groups come before that of the owner. */
export function aclXml(acl: CannedAcl, owners: AclOwners): string {
  const grants = grantsOf(acl, owners).map(({ grantee, permission }) => {
    const element = grantee.startsWith('http')
      ? `<Grantee ${schema} xsi:type="Group">${xmlElement('URI', grantee)}</Grantee>`
      : `<Grantee ${schema} xsi:type="CanonicalUser">${personXml(grantee, owners)}</Grantee>`;
    return `<Grant>${element}${xmlElement('Permission', permission)}</Grant>`;
  });
  return `${ownerXml('Owner', owners.owner)}<AccessControlList>${grants.join('')}</AccessControlList>`;
}

/**
 * The canned list that a document equals. Throws `MalformedACLError`, `AccessDenied` when it names another
 * owner, `NotImplemented` when no canned list says the same.
 */
export function parseAcl(document: Uint8Array, owners: AclOwners, maxBytes: number): CannedAcl {
  const root = parseXml(document, { maxBytes });
  const list = findChild(root, 'AccessControlList');
  if (root.name !== 'AccessControlPolicy' || list === undefined) {
    throw new S3Error('MalformedACLError');
  }
  const owner = findChild(root, 'Owner');
  const ownerId = owner === undefined ? undefined : findChildText(owner, 'ID');
  if (ownerId !== undefined && ownerId !== owners.owner.ownerId) throw new S3Error('AccessDenied');
  const given = new Set(listChildren(list, 'Grant').map((grant) => nameOf(parseGrant(grant))));
  const found = cannedAcls.find((acl) => {
    const grants = grantsOf(acl, owners).map(nameOf);
    return grants.length === given.size && grants.every((grant) => given.has(grant));
  });
  if (found !== undefined) return found;
  throw new S3Error('NotImplemented', 'Only access lists that equal a canned one are served');
}

/**
 * The canned list that a document gives to groups, whoever the owner is: what policies judge it by before it is
 * known whether it is served at all. Throws `XmlError` and `MalformedACLError`.
 */
export function aclForGroups(document: Uint8Array, maxBytes: number): CannedAcl {
  const list = findChild(parseXml(document, { maxBytes }), 'AccessControlList');
  const grants = list === undefined ? [] : listChildren(list, 'Grant').map(parseGrant);
  const toAll = grants.filter(({ grantee }) => grantee === allUsers);
  if (toAll.some(({ permission }) => permission !== 'READ')) return 'public-read-write';
  if (toAll.length > 0) return 'public-read';
  const isToSigned = grants.some(({ grantee }) => grantee === authenticatedUsers);
  return isToSigned ? 'authenticated-read' : 'private';
}

function grantsOf(acl: CannedAcl, { owner, bucketOwner }: AclOwners): Grant[] {
  const own: Grant = { grantee: owner.ownerId, permission: 'FULL_CONTROL' };
  const toBucketOwner = (permission: AclPermission): Grant[] =>
    bucketOwner === undefined || bucketOwner.ownerId === owner.ownerId
      ? [own]
      : [own, { grantee: bucketOwner.ownerId, permission }];
  switch (acl) {
    case 'private':
      return [own];
    case 'public-read':
      return [{ grantee: allUsers, permission: 'READ' }, own];
    case 'public-read-write':
      return [
        { grantee: allUsers, permission: 'READ' },
        { grantee: allUsers, permission: 'WRITE' },
        own,
      ];
    case 'authenticated-read':
      return [{ grantee: authenticatedUsers, permission: 'READ' }, own];
    case 'bucket-owner-read':
      return toBucketOwner('READ');
    case 'bucket-owner-full-control':
      return toBucketOwner('FULL_CONTROL');
  }
}

function personXml(id: string, { owner, bucketOwner }: AclOwners): string {
  const person = bucketOwner?.ownerId === id ? bucketOwner : owner;
  return xmlElement('ID', person.ownerId) + xmlElement('DisplayName', person.displayName);
}

function parseGrant(grant: XmlElement): Grant {
  const permission = findChildText(grant, 'Permission') ?? '';
  const grantee = findChild(grant, 'Grantee');
  if (!permissions.has(permission) || grantee === undefined) {
    throw new S3Error('MalformedACLError');
  }
  const name = findChildText(grantee, 'URI') ?? findChildText(grantee, 'ID');
  if (name === undefined) {
    throw new S3Error('NotImplemented', 'Grants to e-mail addresses are not served');
  }
  // Is one of them: checked above.
  return { grantee: name, permission: permission as AclPermission };
}

function nameOf({ grantee, permission }: Grant): string {
  return `${permission} ${grantee}`;
}

function notServed(header: string): S3Error {
  return new S3Error(
    'NotImplemented',
    `The header ${header} asks for something this server does not do`,
    { details: { Header: header } },
  );
}
