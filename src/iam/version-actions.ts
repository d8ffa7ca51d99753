// Actions that have another name when one version is meant. Bucket policies tell the two apart, as AWS does. A policy
// of a user that allows an action allows it for versions too, unless it denies that, as the reference does: clients
// name the version that they have just looked up, also where nobody asked for one.

const versionForms: Readonly<Record<string, string>> = {
  's3:DeleteObject': 's3:DeleteObjectVersion',
  's3:DeleteObjectTagging': 's3:DeleteObjectVersionTagging',
  's3:GetObject': 's3:GetObjectVersion',
  's3:GetObjectAcl': 's3:GetObjectVersionAcl',
  's3:GetObjectAttributes': 's3:GetObjectVersionAttributes',
  's3:GetObjectTagging': 's3:GetObjectVersionTagging',
  's3:GetObjectTorrent': 's3:GetObjectVersionTorrent',
  's3:PutObjectAcl': 's3:PutObjectVersionAcl',
  's3:PutObjectTagging': 's3:PutObjectVersionTagging',
};

const plainForms: ReadonlyMap<string, string> = new Map(
  Object.entries(versionForms).map(([plain, version]) => [version, plain]),
);

/** The name without a version of an action that is named for one. */
export function plainActionOf(action: string): string | undefined {
  return plainForms.get(action);
}

/** The action as it is called for one version, or for the newest. */
export function actionOfVersion(action: string, versionId: string | undefined): string {
  return versionId === undefined ? action : (versionForms[action] ?? action);
}
