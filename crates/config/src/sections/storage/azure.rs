//! The driver `AzureStorage`.

use super::driver::Driver;
use super::endpoint::{self, Endpoint};
use super::key_prefix::{self, Rule};
use super::parameters::Parameters;
use crate::reader::Remark;
use crate::secret::Secret;

/// `AzureStorage`: a container of Azure Blob Storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AzureStorage {
    /// `endpoint_url`: where the account answers (default: `https://ACCOUNT.blob.core.windows.net`). The path of an emulator begins with the account.
    pub endpoint: Endpoint,
    /// `azure_account_name`, required: the account.
    pub account_name: String,
    /// `azure_container`, required: the container.
    pub container: String,
    /// `storage_path`, required, as it stands right before every key: without slashes in front, with one behind unless it is empty.
    pub key_prefix: String,
    /// Who asks.
    pub credentials: AzureCredentials,
}

/// What proves to Azure who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AzureCredentials {
    /// `azure_account_key`: the key of the account, with which URLs for reading can be signed. It wins over a token.
    AccountKey(Secret<String>),
    /// `sas_token`: a shared access signature, without a question mark in front. Unlike in Quay it is used. Nothing can be signed with it, so that
    /// blobs are streamed.
    SasToken(Secret<String>),
}

pub(super) const PARAMETERS: [&str; 6] = [
    KEY,
    ACCOUNT,
    "azure_container",
    "endpoint_url",
    SAS_TOKEN,
    "storage_path",
];

const ACCOUNT: &str = "azure_account_name";
const KEY: &str = "azure_account_key";
const SAS_TOKEN: &str = "sas_token";

pub(super) fn read(parameters: &mut Parameters<'_, '_>) -> Option<Driver> {
    let account_name = read_account(parameters);
    let container = parameters.container("azure_container");
    let key_prefix = key_prefix::read(parameters, Rule::DropAll);
    let credentials = read_credentials(parameters);
    let endpoint = match parameters.given("endpoint_url") {
        Some(_) => endpoint::read_url(parameters, "endpoint_url"),
        None => account_name
            .as_deref()
            .map(|name| Endpoint::https(format!("{name}.blob.core.windows.net"))),
    };
    Some(Driver::AzureStorage(Box::new(AzureStorage {
        endpoint: endpoint?,
        account_name: account_name?,
        container: container?,
        key_prefix: key_prefix?,
        credentials: credentials?,
    })))
}

/// <https://learn.microsoft.com/en-us/azure/storage/common/storage-account-overview#storage-account-name>, and longer ones for emulators.
fn read_account(parameters: &mut Parameters<'_, '_>) -> Option<String> {
    const WHAT: &str = "small letters and digits, up to 63";
    let name = parameters.required_text(ACCOUNT, WHAT)?;
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.bytes().all(is_plain) && name.len() <= 63 {
        return Some(name);
    }
    let remark = Remark::new("not the name of an account", WHAT, "correct it");
    parameters.refuse(ACCOUNT, remark);
    None
}

fn read_credentials(parameters: &mut Parameters<'_, '_>) -> Option<AzureCredentials> {
    let key = parameters.secret(KEY);
    let token = parameters.text(SAS_TOKEN);
    match (key, token) {
        (Some(key), token) => {
            if token.is_some() {
                let remark = Remark::new(
                    "without effect: azure_account_key counts",
                    "",
                    "take one of the two out",
                );
                parameters.warn(SAS_TOKEN, remark);
            }
            Some(AzureCredentials::AccountKey(key))
        }
        (None, Some(token)) => {
            let token = token.strip_prefix('?').unwrap_or(&token);
            Some(AzureCredentials::SasToken(Secret::new(token.to_owned())))
        }
        (None, None) => {
            // One that was given and refused has been reported.
            if parameters.given(KEY).is_none() && parameters.given(SAS_TOKEN).is_none() {
                let remark = Remark::new(
                    "it is missing, and so is sas_token",
                    "the account's key, or a token with the rights rwdlac",
                    "fill in one of the two",
                );
                parameters.refuse_absent(KEY, remark);
            }
            None
        }
    }
}
