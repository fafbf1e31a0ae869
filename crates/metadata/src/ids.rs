//! Ids of rows, one type a table, so that none can be taken for another.

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub i32);

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(formatter)
            }
        }
    };
}

id! {
    /// A row of `user`: a person, an organisation or a robot.
    UserId
}
id! {
    /// A row of `repository`.
    RepositoryId
}
id! {
    /// A row of `manifest`.
    ManifestId
}
id! {
    /// A row of `imagestorage`: one blob, in however many places.
    StorageId
}
id! {
    /// A row of `blobupload`.
    UploadId
}
id! {
    /// A row of `queueitem`.
    JobId
}
id! {
    /// A row of `imagestoragelocation`.
    LocationId
}
id! {
    /// A row of `appspecificauthtoken`.
    AppTokenId
}
id! {
    /// A row of `oauthaccesstoken`.
    OauthTokenId
}
id! {
    /// A row of `team`.
    TeamId
}
id! {
    /// A row of `oauthapplication`.
    ApplicationId
}
id! {
    /// A row of `userorganizationquota`.
    QuotaId
}
id! {
    /// A row of `quotalimits`.
    QuotaLimitId
}
